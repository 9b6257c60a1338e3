"""Ask Soniox about silent jobs: a few one by one, more through the listing, one call for each 1,000."""

from collections.abc import Sequence

import structlog
from sqlmodel import Session

from service import telemetry
from service.errors import SonioxNotFound
from service.ids import new_uuid
from service.reconcile.finds import Find, next_look_ms
from service.relay import Relay
from service.soniox import RemoteTranscription
from service.store import inbox, transcription_queries, transcriptions
from service.store.transcriptions import Seen
from service.tables import TimelineEntry, Transcription

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 10_000
LONG_FROM_NOW_MS = 2**62
FEW = 3  # up to so many are read one by one


async def sweep(
    relay: Relay,
    *,
    dry_run: bool = False,
    all_submitted: bool = False,
    listed: Sequence[RemoteTranscription] | None = None,
) -> list[Find]:
    """Look at all silent jobs, or at all submitted ones. Raises SonioxError when Soniox cannot be asked.

    `listed` is all that Soniox has, when that was read anyway; it must be no older than this call.
    """
    before_ms = LONG_FROM_NOW_MS if all_submitted else relay.clock()
    silent = await relay.db.read(lambda session: transcriptions.silent(session, before_ms, MOST_AT_ONCE))
    finds = await _ask(relay, silent) if listed is None else _compare(relay, silent, listed)
    if finds and not dry_run:
        await record(relay, finds)
    return finds


async def ask_one(relay: Relay, job: Transcription) -> Find:
    """Ask about one submitted job, silent or not."""
    try:
        remote = await relay.soniox.look_at_transcription(job.soniox_id or "")
    except SonioxNotFound:
        return Find(job, None, relay.clock())
    return Find(job, remote, relay.clock())


async def record(relay: Relay, finds: list[Find]) -> None:
    """Write news into the inbox, and note when to ask again about the rest."""
    news = [find for find in finds if find.is_news]
    now_ms = relay.clock()
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)

    def write(session: Session) -> None:
        if news:
            inbox.record(session, [_as_hint(find, now_ms) for find in news])
            transcription_queries.add_timeline_entries(session, *[_entry(find, now_ms) for find in news])
        transcriptions.mark_seen(session, [_seen(find, interval_ms) for find in finds])

    await relay.db.write(write, wake=("collect", "submit"))
    for find in news:
        telemetry.reconciler_found.labels(find.kind).inc()
        log.warning("webhook_missed", job_id=find.job.id, kind=find.kind, status=find.status, why=find.diagnosis)


async def _ask(relay: Relay, silent: list[Transcription]) -> list[Find]:
    if len(silent) <= FEW:
        return [await ask_one(relay, job) for job in silent]
    return _compare(relay, silent, await _listed(relay, {job.soniox_id or "" for job in silent}))


def _compare(relay: Relay, silent: list[Transcription], listed: Sequence[RemoteTranscription]) -> list[Find]:
    remotes = {remote.id: remote for remote in listed}
    return [Find(job, remotes.get(job.soniox_id or ""), relay.clock()) for job in silent]


async def _listed(relay: Relay, wanted: set[str]) -> list[RemoteTranscription]:
    """The wanted ones out of the listing, read no further than needed."""
    found: list[RemoteTranscription] = []
    async for remote in relay.soniox.list_transcriptions():
        if remote.id in wanted:
            found.append(remote)
            if len(found) == len(wanted):
                break
    return found


def _as_hint(find: Find, now_ms: int) -> inbox.InboxEntry:
    job = find.job
    return inbox.InboxEntry(new_uuid(now_ms), job.id, job.soniox_id or "", find.status, "reconciler", now_ms)


def _seen(find: Find, interval_ms: int) -> Seen:
    remote = find.remote
    return Seen(
        transcription_id=find.job.id,
        soniox_id=find.job.soniox_id,
        status=find.status,
        audio_duration_ms=remote.audio_duration_ms if remote else find.job.audio_duration_ms,
        webhook_status_code=remote.webhook_status_code if remote else None,
        check_at_ms=next_look_ms(find, interval_ms),
    )


def _entry(find: Find, now_ms: int) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=find.job.id,
        at_ms=now_ms,
        step=f"found_{find.status}",
        source="reconciler",
        http_status=find.remote.webhook_status_code if find.remote else None,
        detail=f"{find.kind}: {find.diagnosis}",
    )
