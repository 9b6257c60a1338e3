"""Runs sweeps: the process with the leader lease sweeps once per interval.

If new jobs wait for room at Soniox, an early sweep between two intervals finds jobs that are no longer pending,
so that the quota of pending jobs is fully used.
"""

from collections import Counter
from dataclasses import dataclass

import structlog
from sqlmodel import Session

from service import telemetry
from service.clock import DAY_MS
from service.errors import SonioxError
from service.ids import new_uuid
from service.reconcile.leaks import find_leaks, remove_leaks
from service.reconcile.sweep import Finding, sweep
from service.relay import Relay
from service.store import reconciler, system
from service.store.quotas import usage
from service.tables import Sweep

log = structlog.get_logger(__name__)

LEASE_INTERVALS = 1.5
LEAKS_EVERY = 10  # sweeps
EARLY_LOOK_AFTER_MS = 2_000
HEARTBEAT_RETENTION_MS = DAY_MS  # for heartbeats of processes that have ended


@dataclass
class SchedulerState:
    """The state of one process between two calls of `run_when_due`."""

    swept_at_ms: int = 0
    looked_at_ms: int = 0
    sweeps: int = 0
    quota_refusals: int = 0


async def run_when_due(relay: Relay, state: SchedulerState) -> None:
    """Sweep if this process has the leader lease and the interval is over, or early if jobs wait for room."""
    now_ms = relay.clock()
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)
    until_ms = now_ms + int(interval_ms * LEASE_INTERVALS)
    mine = await relay.db.write(
        lambda session: system.acquire_leader_lease(
            session, system.RECONCILER, relay.process_id, now_ms=now_ms, until_ms=until_ms
        )
    )
    if not mine:
        return
    if now_ms - state.swept_at_ms >= interval_ms:
        state.swept_at_ms = state.looked_at_ms = now_ms
        state.sweeps += 1
        await _run(relay, state)
    elif now_ms - state.looked_at_ms >= EARLY_LOOK_AFTER_MS and await _is_short_of_room(relay):
        state.looked_at_ms = now_ms
        await _look_early(relay)


async def _run(relay: Relay, state: SchedulerState) -> None:
    started_ms = relay.clock()
    calls = relay.soniox.made["sweep"]
    row = Sweep(
        id=new_uuid(started_ms), started_at_ms=started_ms, finished_at_ms=started_ms, leader=relay.process_id
    )
    try:
        row.asked, found = await _sweep_and_fix(relay, state)
        row.findings = dict(found)
    except SonioxError as error:
        row.error = error.message[:500]
        log.warning("sweep_failed", reason=error.message, http_status=error.status_code)
    row.finished_at_ms = relay.clock()
    row.calls = relay.soniox.made["sweep"] - calls
    telemetry.reconciler_runs.labels("failed" if row.error else "ok").inc()

    def write(session: Session) -> None:
        reconciler.add_run(session, row)
        system.delete_heartbeats_before(session, row.started_at_ms - HEARTBEAT_RETENTION_MS)
        system.record_heartbeat(
            session, system.RECONCILER, row.finished_at_ms, {"leader": row.leader, "findings": row.findings}
        )

    await relay.db.write(write)


async def _sweep_and_fix(relay: Relay, state: SchedulerState) -> tuple[int, Counter[str]]:
    if not _is_time_for_leaks(relay, state):
        findings = await sweep(relay)
        return len(findings), _kinds(findings) + await _stalled(relay)
    listed = [remote async for remote in relay.soniox.list_transcriptions()]
    findings = await sweep(relay, listed=listed)
    leaks = await find_leaks(relay, listed)
    await remove_leaks(relay, leaks)
    return len(findings), _kinds(findings) + leaks.counts() + await _stalled(relay)


def _is_time_for_leaks(relay: Relay, state: SchedulerState) -> bool:
    """Return True every LEAKS_EVERY sweeps, and after Soniox reported a full quota."""
    said_full = relay.governor.quota_refusals != state.quota_refusals
    state.quota_refusals = relay.governor.quota_refusals
    return said_full or state.sweeps % LEAKS_EVERY == 1


def _kinds(findings: list[Finding]) -> Counter[str]:
    return Counter(find.kind for find in findings if find.actionable)


async def _stalled(relay: Relay) -> Counter[str]:
    """Count rows that are long due and have no lease, by queue. Above 0, workers are missing."""
    now_ms = relay.clock()
    counts = await relay.db.read(
        lambda session: reconciler.stalled(session, now_ms, now_ms - reconciler.STALLED_AFTER_MS)
    )
    for queue, number in counts.items():
        telemetry.work_stalled.labels(queue).set(number)
    return Counter({f"stalled_{queue}": number for queue, number in counts.items() if number})


async def _is_short_of_room(relay: Relay) -> bool:
    return await relay.db.read(
        lambda session: (
            reconciler.is_waiting_for_room(session, relay.clock())
            and usage(session).pending >= relay.governor.quotas.pending
        )
    )


async def _look_early(relay: Relay) -> None:
    try:
        await sweep(relay, all_submitted=True)
    except SonioxError as error:
        log.info("early_sweep_failed", reason=error.message)
