"""The life of a transcription, without I/O: its stages, the moves between them, and how long to wait.

                 b               c                 f
    a ──▶ accepted ──▶ submitting ──▶ submitted ──────▶ completed
             ▲  │ ◀──────┘ d    │         │
             │  │               │ e       │ g
             │  └───────────────┴─────────┴───────────▶ failed ──┐
             └──────────────────────────── h ────────────────────┘

    a  the API accepted it: the row is on disk
    b  a worker claimed it: from here on a call to Soniox may be under way
    c  Soniox has it and its id is known, from the answer or from a listing
    d  nothing reached Soniox, or Soniox has no room: it waits here for its next turn
    e  Soniox refused it for good, or its file is gone
    f  its transcript is stored
    g  Soniox failed it, lost it, or the deadline passed
    h  the caller asked for another attempt

A webhook may overtake the answer to create, so f and g also start at accepted and submitting: what Soniox
has finished is finished. That answer may itself come late, when the row waits again, so c starts at accepted
too. Completed is final. DELETE removes the row at any stage.
"""

import enum
import random
from typing import Literal

SonioxStatus = Literal["queued", "processing", "completed", "error"]


class Stage(enum.StrEnum):
    """Where a transcription stands."""

    ACCEPTED = "accepted"  # durable here, waiting for its turn at Soniox
    SUBMITTING = "submitting"  # a call that creates it may be under way, or its outcome is unknown
    SUBMITTED = "submitted"  # Soniox has it
    COMPLETED = "completed"  # the transcript is stored
    FAILED = "failed"  # there is an explained error


OPEN_STAGES = (Stage.ACCEPTED, Stage.SUBMITTING, Stage.SUBMITTED)
AT_WORK = frozenset({"processing", "completed", "error"})  # what Soniox says of one that it has begun

MOVES: frozenset[tuple[Stage, Stage]] = frozenset(
    {
        (Stage.ACCEPTED, Stage.SUBMITTING),  # b
        (Stage.SUBMITTING, Stage.SUBMITTED),  # c
        (Stage.ACCEPTED, Stage.SUBMITTED),  # c, late
        (Stage.SUBMITTING, Stage.ACCEPTED),  # d
        (Stage.SUBMITTING, Stage.FAILED),  # e
        (Stage.FAILED, Stage.ACCEPTED),  # h
        *((stage, Stage.COMPLETED) for stage in OPEN_STAGES),  # f
        *((stage, Stage.FAILED) for stage in OPEN_STAGES),  # g
    }
)


def sources_of(target: Stage) -> tuple[Stage, ...]:
    """Return the stages that may change to `target`. Every UPDATE of a stage has them as a condition."""
    return tuple(stage for stage in Stage if (stage, target) in MOVES)


def soniox_status(stage: Stage, last_seen: str | None) -> SonioxStatus:
    """Return Soniox's status for a stage. It is `completed` only once the transcript is stored here."""
    match stage:
        case Stage.COMPLETED:
            return "completed"
        case Stage.FAILED:
            return "error"
        case Stage.SUBMITTED if last_seen in AT_WORK:
            return "processing"
        case Stage.ACCEPTED | Stage.SUBMITTING | Stage.SUBMITTED:
            return "queued"


class DeliveryStatus(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # due now or later
    DELIVERED = "delivered"  # the receiver answered 2xx
    EXHAUSTED = "exhausted"  # the dead letter: every try of the schedule failed; retry sends it again


TRIPPED_AFTER = 5  # failures of a receiver in a row; from then on one delivery at a time probes it


def backoff_ms(tries: int, *, first_ms: int = 500, longest_ms: int = 10_000, rng: random.Random) -> int:
    """Return the wait in ms before try `tries` + 1. It doubles from `first_ms`, plus up to half as jitter.

    It stays short, so that a backlog drains soon after an outage. The governor limits calls during an outage.
    """
    base = min(longest_ms, first_ms << min(tries, 20))
    return base + int(base * rng.random() / 2)
