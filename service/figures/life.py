"""Who is alive, by the signs of life that worker and reconciler leave in the database. Pure."""

from collections.abc import Mapping

from service.settings import Settings
from service.store.system import RECONCILER, WORKER_SILENT_MS
from service.tables import Heartbeat

WORKER = "worker:"
RECONCILER_SILENT_INTERVALS = 3


def signs_of_life(beats: Mapping[str, Heartbeat], settings: Settings, now_ms: int) -> dict[str, str]:
    """`ok`, `silent` or `none has started` for worker and reconciler."""
    workers = [beat.at_ms for beat in workers_of(beats)]
    swept = [beats[RECONCILER].at_ms] if RECONCILER in beats else []
    interval_ms = settings.relay_reconcile_interval_s * 1000
    return {
        "worker": _alive(workers, now_ms - WORKER_SILENT_MS),
        "reconciler": _alive(swept, now_ms - RECONCILER_SILENT_INTERVALS * interval_ms - WORKER_SILENT_MS),
    }


def workers_of(beats: Mapping[str, Heartbeat], since_ms: int = 0) -> list[Heartbeat]:
    """Workers that spoke since then."""
    return [beat for name, beat in beats.items() if name.startswith(WORKER) and beat.at_ms >= since_ms]


def _alive(beats: list[int], since_ms: float) -> str:
    if not beats:
        return "none has started"
    return "ok" if max(beats) >= since_ms else "silent"
