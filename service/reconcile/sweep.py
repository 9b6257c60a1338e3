"""Sweep: asks Soniox about silent transcriptions and records the findings."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlmodel import Session

from service import telemetry
from service.errors import SonioxNotFoundError
from service.ids import new_uuid
from service.lifecycle import Stage
from service.relay import Relay
from service.soniox.models import (
    DELETED_FILE,
    FINISHED_BADLY,
    FINISHED_WELL,
    STUCK_TRANSCRIPTION,
    RemoteTranscription,
)
from service.store import inbox, transcription_queries, transcriptions
from service.store.transcriptions import Seen
from service.tables import TimelineEntry, Transcription

DEADLINE_MS = 24 * 3600 * 1000  # the longest audio is 300 minutes, usually done in ten minutes
PACE = 30  # audio is transcribed at least this many times faster than it plays
MAX_INTERVALS = 10  # the longest time between two checks of a job, however long its audio


@dataclass(frozen=True)
class Finding:
    """A submitted job and its transcription at Soniox, which is None if Soniox does not have it."""

    job: Transcription
    remote: RemoteTranscription | None
    now_ms: int

    @property
    def status(self) -> str:
        """The status for the inbox entry."""
        if self.remote is None:
            return DELETED_FILE
        if self.remote.status in FINISHED_BADLY | {FINISHED_WELL}:
            return self.remote.status
        return STUCK_TRANSCRIPTION if self._is_overdue() else self.remote.status

    @property
    def actionable(self) -> bool:
        """True if the collect stage can finish the job."""
        return self.status in {DELETED_FILE, STUCK_TRANSCRIPTION, FINISHED_WELL} | FINISHED_BADLY

    @property
    def kind(self) -> str:
        """The kind of finding in metrics and in the sweep's row."""
        if self.status in {DELETED_FILE, STUCK_TRANSCRIPTION}:
            return {DELETED_FILE: "vanished", STUCK_TRANSCRIPTION: "stuck"}[self.status]
        code = self.remote.webhook_status_code if self.remote else None
        return "webhook_rejected" if code is not None and not 200 <= code < 300 else "webhook_lost"

    @property
    def action(self) -> str:
        """What the relay does about it, in one phrase."""
        if not self.actionable:
            return "wait"
        return {DELETED_FILE: "look again, then fail it", STUCK_TRANSCRIPTION: "fail it"}.get(
            self.status, "collect the result"
        )

    @property
    def diagnosis(self) -> str:
        """Why no webhook arrived, as far as Soniox reports it."""
        code = self.remote.webhook_status_code if self.remote else None
        match code:
            case None:
                return "Soniox has sent no webhook, or got no answer to it"
            case 401:
                return "our webhook answered 401: the secret that Soniox sends is not the one expected here"
            case 413 | 400:
                return f"our webhook answered {code}: something between Soniox and the relay changes the body"
            case code if 200 <= code < 300:
                return f"something answered {code} in our place: does PUBLIC_BASE_URL lead to this relay?"
            case _:
                return f"our webhook answered {code}"

    def _is_overdue(self) -> bool:
        return self.now_ms - (self.job.submitted_at_ms or self.now_ms) > DEADLINE_MS


def next_look_ms(find: Finding, interval_ms: int) -> int:
    """Return when to ask again, in ms since 1970: after one interval.

    Later if the audio is too long to be done by then, or if the finding is in the inbox.
    """
    if find.actionable:
        return find.now_ms + MAX_INTERVALS * interval_ms
    audio_ms = find.remote.audio_duration_ms if find.remote else None
    expected_ms = (find.job.submitted_at_ms or find.now_ms) + (audio_ms or 0) // PACE
    wait_ms = min(max(interval_ms, expected_ms - find.now_ms), MAX_INTERVALS * interval_ms)
    return find.now_ms + wait_ms


log = structlog.get_logger(__name__)

MAX_PER_SWEEP = 10_000
FAR_FUTURE_MS = 2**62
FEW = 3  # up to this many are read one by one, more from the listing


async def sweep(
    relay: Relay,
    *,
    dry_run: bool = False,
    all_submitted: bool = False,
    listed: Sequence[RemoteTranscription] | None = None,
) -> list[Finding]:
    """Ask Soniox about all silent jobs, or with `all_submitted` about all submitted ones. Raises SonioxError.

    `listed` is Soniox's full listing, if the caller has read it; it must be no older than this call. `dry_run`
    records nothing.
    """
    before_ms = FAR_FUTURE_MS if all_submitted else relay.clock()
    silent = await relay.db.read(lambda session: transcriptions.silent(session, before_ms, MAX_PER_SWEEP))
    findings = await _ask(relay, silent) if listed is None else _compare(relay, silent, listed)
    if findings and not dry_run:
        await record(relay, findings)
    return findings


async def ask_one(relay: Relay, job: Transcription) -> Finding:
    """Ask Soniox about one submitted job, silent or not. Raises SonioxError."""
    try:
        remote = await relay.soniox.peek_transcription(job.soniox_id or "")
    except SonioxNotFoundError:
        return Finding(job, None, relay.clock())
    return Finding(job, remote, relay.clock())


async def reconcile_one(relay: Relay, job: Transcription) -> Finding | None:
    """Ask Soniox about one job now and record the finding; None if it is not at Soniox. Raises SonioxError."""
    if job.stage != Stage.SUBMITTED:
        return None
    finding = await ask_one(relay, job)
    await record(relay, [finding])
    return finding


async def record(relay: Relay, findings: list[Finding]) -> None:
    """Add actionable findings to the inbox, and store when to ask again about each job."""
    news = [find for find in findings if find.actionable]
    now_ms = relay.clock()
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)

    def write(session: Session) -> None:
        if news:
            inbox.record(session, [_as_hint(find, now_ms) for find in news])
            transcription_queries.add_timeline_entries(session, *[_entry(find, now_ms) for find in news])
        transcriptions.mark_seen(session, [_seen(find, interval_ms) for find in findings])

    await relay.db.write(write, wake=("collect", "submit"))
    for find in news:
        telemetry.reconciler_found.labels(find.kind).inc()
        log.warning("webhook_missed", job_id=find.job.id, kind=find.kind, status=find.status, why=find.diagnosis)


async def _ask(relay: Relay, silent: list[Transcription]) -> list[Finding]:
    if len(silent) <= FEW:
        return [await ask_one(relay, job) for job in silent]
    return _compare(relay, silent, await _listed(relay, {job.soniox_id or "" for job in silent}))


def _compare(relay: Relay, silent: list[Transcription], listed: Sequence[RemoteTranscription]) -> list[Finding]:
    remotes = {remote.id: remote for remote in listed}
    return [Finding(job, remotes.get(job.soniox_id or ""), relay.clock()) for job in silent]


async def _listed(relay: Relay, wanted: set[str]) -> list[RemoteTranscription]:
    """Return the wanted transcriptions, reading the listing only until all are found."""
    found: list[RemoteTranscription] = []
    async for remote in relay.soniox.list_transcriptions():
        if remote.id in wanted:
            found.append(remote)
            if len(found) == len(wanted):
                break
    return found


def _as_hint(find: Finding, now_ms: int) -> inbox.InboxEntry:
    job = find.job
    return inbox.InboxEntry(new_uuid(now_ms), job.id, job.soniox_id or "", find.status, "reconciler", now_ms)


def _seen(find: Finding, interval_ms: int) -> Seen:
    remote = find.remote
    return Seen(
        transcription_id=find.job.id,
        soniox_id=find.job.soniox_id,
        status=find.status,
        audio_duration_ms=remote.audio_duration_ms if remote else find.job.audio_duration_ms,
        webhook_status_code=remote.webhook_status_code if remote else None,
        check_at_ms=next_look_ms(find, interval_ms),
    )


def _entry(find: Finding, now_ms: int) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=find.job.id,
        at_ms=now_ms,
        step=f"found_{find.status}",
        source="reconciler",
        http_status=find.remote.webhook_status_code if find.remote else None,
        detail=f"{find.kind}: {find.diagnosis}",
    )
