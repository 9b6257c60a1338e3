"""The tables. Moments are integers in ms since 1970 (`_ms`), on both databases; queries live in `store/`.

A table that is a queue has the columns of `Due`; the row itself is the queue entry, so that no job table can
disagree with the state. There are no foreign keys: rows that belong together are written and deleted in one
transaction by `store/`, and a purge must not lock what a worker claims.
"""

from service.tables.base import IS_OPEN, IS_SETTLED, NOT_COMPLETED, NOT_DELIVERED, Due, table_of
from service.tables.deliveries import Attempt, Delivery, Endpoint, Event, Receiver, Recovery
from service.tables.operations import ApiKey, CountedHour, Heartbeat, ModelList, Office, SonioxCalls, Sweep
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
    "CountedHour",
    "Delivery",
    "Due",
    "Endpoint",
    "Event",
    "File",
    "FileChunk",
    "Heartbeat",
    "IdempotencyKey",
    "ModelList",
    "Office",
    "Passage",
    "Receiver",
    "Recovery",
    "Removal",
    "SonioxCalls",
    "Sweep",
    "TimelineEntry",
    "Transcript",
    "TranscriptChunk",
    "Transcription",
    "Webhook",
    "table_of",
]
