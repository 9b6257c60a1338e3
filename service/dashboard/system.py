"""/ui/system: what runs here, with which settings, and who is alive."""

from typing import Any

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from service.api.auth import RelayOf
from service.dashboard.page import page_router
from service.dashboard.render import render
from service.dashboard.visitors import Admin
from service.figures import quotas, signs_of_life
from service.origins import settings_in_force
from service.relay import Relay
from service.revisions import HEAD, current_revision, misfit
from service.store import heartbeats, sweeps
from service.tables import Heartbeat

router = page_router()


@router.get("/system")
async def system(request: Request, relay: RelayOf, _visitor: Admin) -> Response:
    async with relay.db.read() as connection:
        facts = await _facts(relay, connection)
    return render(request, "system.html", settings=settings_in_force(relay.settings), **facts)


async def _facts(relay: Relay, connection: AsyncConnection) -> dict[str, Any]:
    now_ms = relay.clock()
    beats = await heartbeats.all_of(connection)
    return {
        "database": {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[connection.dialect.name],
        "revision": await connection.run_sync(current_revision),
        "newest": HEAD,
        "misfit": await connection.run_sync(misfit),
        "life": signs_of_life(beats, relay.settings, now_ms),
        "beats": sorted(beats.values(), key=lambda beat: -beat.at_ms),
        "saying": {beat.name: _said(beat) for beat in beats.values()},
        "stalled": await sweeps.stalled(connection, now_ms, now_ms - sweeps.STALLED_AFTER_MS),
        "quotas": await quotas(relay, connection),
        "this_process": relay.name,
        "trouble": relay.governor.trouble(),
    }


def _said(beat: Heartbeat) -> str:
    """What came with the sign of life, in one line."""
    return ", ".join(f"{name}: {value}" for name, value in beat.detail.items() if value not in (None, {}, ""))
