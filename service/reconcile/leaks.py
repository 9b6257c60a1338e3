"""Leaks: objects at Soniox with our mark that no job needs. They are removed before they fill the quotas.

Foreign transcriptions with our webhook URL are adopted if RELAY_ADOPT_FOREIGN is set. Other foreign usage is
counted, and the governor lowers its limits by it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlmodel import Session

from service import telemetry
from service.ids import new_uuid
from service.lifecycle import OPEN_STAGES
from service.relay import Relay
from service.soniox.models import FINISHED_BADLY, FINISHED_WELL, RemoteTranscription, job_of_reference
from service.store import inbox, reconciler, transcriptions
from service.store.quotas import QuotaUsage

log = structlog.get_logger(__name__)


@dataclass
class Leaks:
    """Leaks as (job, id at Soniox), and foreign transcriptions to adopt."""

    transcriptions: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[RemoteTranscription] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """Count by kind, without kinds that were not found."""
        found = {"leaked_transcription": len(self.transcriptions), "leaked_file": len(self.files)}
        return Counter(
            {kind: number for kind, number in {**found, "foreign": len(self.foreign)}.items() if number}
        )


async def find_leaks(relay: Relay, remotes: Sequence[RemoteTranscription]) -> Leaks:
    """Compare Soniox's lists with our rows, and update the governor's foreign usage. Raises SonioxError.

    The lists are read before the rows, so a job submitted in between is not mistaken for a leak.
    """
    files = [file async for file in relay.soniox.list_files()]
    ours = [remote for remote in remotes if _is_marked(relay, remote)]
    our_files = {file.id: job for file in files if (job := job_of_reference(file.client_reference_id or ""))}
    relay.governor.foreign_usage = QuotaUsage(0, len(remotes) - len(ours), len(files) - len(our_files))

    def query(session: Session) -> Leaks:
        leaks = _without_row(session, ours, our_files)
        if relay.settings.relay_adopt_foreign:
            leaks.foreign = _adoptable(session, relay, remotes)
        return leaks

    return await relay.db.read(query)


async def remove_leaks(relay: Relay, leaks: Leaks) -> None:
    """Order the removals, and add the transcriptions to adopt to the inbox."""
    now_ms = relay.clock()

    def remove(session: Session) -> None:
        for job, soniox_id in leaks.transcriptions:
            reconciler.add_removals(session, reconciler.removal_of(job, soniox_id, None, now_ms))
        for job, file_id in leaks.files:
            reconciler.add_removals(session, reconciler.removal_of(job, None, file_id, now_ms))
        if leaks.foreign:
            inbox.record(session, [_as_hint(remote, now_ms) for remote in leaks.foreign])

    await relay.db.write(remove, wake=("cleanup", "collect"))
    for kind, number in leaks.counts().items():
        telemetry.reconciler_found.labels(kind).inc(number)
        log.warning("leaks_found", kind=kind, number=number)


def _without_row(session: Session, ours: list[RemoteTranscription], our_files: dict[str, str]) -> Leaks:
    rows = transcriptions.stages_of(session, list({remote.job() for remote in ours} | set(our_files.values())))
    leaving, files_leaving = reconciler.pending_removals(session)
    needed = {soniox_id for _, soniox_id in rows.values()}
    unsettled = {job for job, (stage, soniox_id) in rows.items() if stage in OPEN_STAGES and soniox_id is None}
    used = reconciler.files_in_use(session, list(our_files))
    return Leaks(
        [
            (remote.job(), remote.id)
            for remote in ours
            if remote.id not in needed | leaving and remote.job() not in unsettled
        ],
        [
            (job, file_id)
            for file_id, job in our_files.items()
            if file_id not in used | files_leaving and job not in unsettled
        ],
    )


def _adoptable(
    session: Session, relay: Relay, remotes: Sequence[RemoteTranscription]
) -> list[RemoteTranscription]:
    finished = {FINISHED_WELL} | FINISHED_BADLY
    pointing = [remote for remote in remotes if not remote.job() and remote.status in finished]
    return [
        remote
        for remote in pointing
        if (remote.webhook_url or "").split("?")[0] == relay.settings.webhook_base
        and transcriptions.with_soniox_id(session, remote.id) is None
    ]


def _is_marked(relay: Relay, remote: RemoteTranscription) -> bool:
    """Return whether it has our webhook URL with a job. Another relay on the account has another URL."""
    return bool(remote.job()) and (remote.webhook_url or "").split("?")[0] == relay.settings.webhook_base


def _as_hint(remote: RemoteTranscription, now_ms: int) -> inbox.InboxEntry:
    return inbox.InboxEntry(new_uuid(now_ms), "", remote.id, remote.status, "reconciler", now_ms)
