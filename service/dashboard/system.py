"""/ui/system: what runs here, with which settings, and who is alive."""

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from service.api.auth import RelayOf
from service.dashboard.render import render
from service.dashboard.visitors import Admin
from service.db.schema import HEAD, check_schema, current_revision
from service.relay import Relay
from service.services.alerts import heartbeat_ages
from service.services.statistics import quotas
from service.settings import settings_in_force
from service.store import reconciler
from service.store import system as store_system
from service.tables import Heartbeat

router = APIRouter()


@router.get("/system")
async def system(request: Request, relay: RelayOf, _visitor: Admin) -> Response:
    facts = await relay.db.read(lambda session: _facts(relay, session))
    return render(request, "system.html", settings=settings_in_force(relay.settings), **facts)


def _facts(relay: Relay, session: Session) -> dict[str, Any]:
    now_ms = relay.clock()
    beats = store_system.heartbeats_of(session)
    return {
        "database": {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[relay.db.dialect.name],
        "revision": current_revision(session.connection()),
        "newest": HEAD,
        "misfit": check_schema(session.connection()),
        "life": heartbeat_ages(beats, relay.settings, now_ms),
        "beats": sorted(beats.values(), key=lambda beat: -beat.at_ms),
        "saying": {beat.name: _said(beat) for beat in beats.values()},
        "stalled": reconciler.stalled(session, now_ms, now_ms - reconciler.STALLED_AFTER_MS),
        "quotas": quotas(relay, session),
        "this_process": relay.name,
        "trouble": relay.governor.trouble(),
    }


def _said(beat: Heartbeat) -> str:
    """What came with the sign of life, in one line."""
    return ", ".join(f"{name}: {value}" for name, value in beat.detail.items() if value not in (None, {}, ""))
