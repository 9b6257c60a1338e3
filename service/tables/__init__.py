"""The tables. Moments are integers in ms since 1970 (`_ms`), on both databases; queries live in `store/`.

A table that is a queue has the columns of `QueueColumns`; the row itself is the queue entry, so that no job table
can disagree with the state. There are no foreign keys: rows that belong together are written and deleted in one
transaction by `store/`, and a purge must not lock what a worker claims.
"""

from service.tables.base import IS_OPEN, IS_SETTLED, NOT_COMPLETED, NOT_DELIVERED, QueueColumns, table_of
from service.tables.deliveries import Attempt, Delivery, Endpoint, Event, Receiver, Recovery
from service.tables.operations import ApiKey, Heartbeat, HourlyRollup, LeaderLease, ModelList, RateWindow, Sweep
from service.tables.transcriptions import (
    File,
    FileChunk,
    IdempotencyKey,
    Removal,
    TimelineEntry,
    Transcription,
    Webhook,
)
from service.tables.transcripts import Passage, Transcript, TranscriptChunk

__all__ = [
    "IS_OPEN",
    "IS_SETTLED",
    "NOT_COMPLETED",
    "NOT_DELIVERED",
    "ApiKey",
    "Attempt",
    "Delivery",
    "Endpoint",
    "Event",
    "File",
    "FileChunk",
    "Heartbeat",
    "HourlyRollup",
    "IdempotencyKey",
    "LeaderLease",
    "ModelList",
    "Passage",
    "QueueColumns",
    "RateWindow",
    "Receiver",
    "Recovery",
    "Removal",
    "Sweep",
    "TimelineEntry",
    "Transcript",
    "TranscriptChunk",
    "Transcription",
    "Webhook",
    "table_of",
]
