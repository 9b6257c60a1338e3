"""The tables. Times are integers in ms since 1970 (`_ms`) on both databases; queries are in `store/`.

A table that is a queue has the columns of `QueueColumns`. The row itself is the queue entry, so no separate
queue table can disagree with the state. There are no foreign keys: `store/` writes and deletes related rows in
one transaction, and a purge must not lock rows that a worker claims.
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
