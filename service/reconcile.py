"""The reconciler: asks Soniox about what no webhook told, and writes what it learns into the same inbox.

It never fetches a transcript and never finishes a job; the collect stage does, on the same path as for a
webhook. A few silent jobs are asked one by one, many through the listing: one call for each 1,000.
"""

from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from service import telemetry
from service.errors import SonioxError, SonioxNotFound
from service.ids import new_uuid
from service.relay import Relay
from service.soniox import RemoteTranscription
from service.soniox.models import FINISHED_BADLY, FINISHED_WELL
from service.store import heartbeats, timeline, transcriptions, webhooks
from service.tables import TimelineEntry, Transcription, Webhook

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 5_000
FEW = 10  # up to so many are read one by one
GONE = "gone"  # our own word in the inbox for what Soniox no longer lists; the collect stage looks again

HEARTBEAT = "reconciler"


@dataclass(frozen=True)
class Find:
    """One job as we thought it was, and what Soniox says of it; None when Soniox does not have it."""

    job: Transcription
    remote: RemoteTranscription | None

    @property
    def status(self) -> str:
        return self.remote.status if self.remote else GONE

    @property
    def is_news(self) -> bool:
        return self.status in {FINISHED_WELL, GONE} | FINISHED_BADLY

    @property
    def kind(self) -> str:
        """What went wrong with the webhook, as far as Soniox tells."""
        if self.remote is None:
            return "vanished"
        code = self.remote.webhook_status_code
        return "webhook_lost" if code is None or 200 <= code < 300 else "webhook_rejected"


async def sweep(relay: Relay, *, dry_run: bool = False) -> list[Find]:
    """One run over all silent jobs. Raises SonioxError when Soniox cannot be asked."""
    async with relay.db.read() as connection:
        silent = await transcriptions.silent(connection, relay.clock(), MOST_AT_ONCE)
    finds = await _ask(relay, silent)
    if not dry_run:
        await record(relay, finds)
    return finds


async def record(relay: Relay, finds: list[Find]) -> None:
    """Write news into the inbox, and note when to ask again about the rest."""
    news = [find for find in finds if find.is_news]
    now_ms = relay.clock()
    again_ms = now_ms + int(relay.settings.relay_reconcile_interval_s * 1000)

    async def write(connection: AsyncConnection) -> None:
        if news:
            await webhooks.record(connection, [_as_webhook(find, now_ms) for find in news])
            await timeline.note(connection, *[_entry(find, now_ms) for find in news])
        for find in finds:
            await transcriptions.mark_seen(connection, find.job.id, status=find.status, check_at_ms=again_ms)
        detail = {"asked": len(finds), "found": len(news)}
        await heartbeats.beat(connection, HEARTBEAT, now_ms, detail)

    await relay.db.write(write, wake=("collect",))
    for find in news:
        telemetry.reconciler_found.labels(find.kind).inc()
        log.warning("webhook_missed", job_id=find.job.id, kind=find.kind, status=find.status)


async def ask_one(relay: Relay, job: Transcription) -> Find:
    """Ask about one submitted job, silent or not."""
    try:
        return Find(job, await relay.soniox.get_transcription(job.soniox_id or ""))
    except SonioxNotFound:
        return Find(job, None)


async def _ask(relay: Relay, silent: list[Transcription]) -> list[Find]:
    if len(silent) <= FEW:
        return [await ask_one(relay, job) for job in silent]
    remotes = {remote.id: remote async for remote in relay.soniox.list_transcriptions()}
    return [Find(job, remotes.get(job.soniox_id or "")) for job in silent]


def _as_webhook(find: Find, now_ms: int) -> Webhook:
    return Webhook(
        id=new_uuid(now_ms),
        job=find.job.id,
        soniox_id=find.job.soniox_id or "",
        status=find.status,
        source="reconciler",
        received_at_ms=now_ms,
        last_seen_at_ms=now_ms,
        due_at_ms=now_ms,
    )


def _entry(find: Find, now_ms: int) -> TimelineEntry:
    seen = find.remote.webhook_status_code if find.remote else None
    told = f"Soniox saw {seen} from our webhook" if seen else "no webhook came"
    return TimelineEntry(
        transcription_id=find.job.id,
        at_ms=now_ms,
        step=f"found_{find.status}",
        source="reconciler",
        http_status=seen,
        detail=f"{find.kind}: {told}",
    )


async def run_once(relay: Relay) -> None:
    """One scheduled sweep; trouble with Soniox is noted and left to the next one."""
    try:
        finds = await sweep(relay)
    except SonioxError as error:
        telemetry.reconciler_runs.labels("failed").inc()
        log.warning("sweep_failed", reason=error.message, http_status=error.status_code)
    else:
        telemetry.reconciler_runs.labels("ok").inc()
        log.debug("swept", asked=len(finds))
