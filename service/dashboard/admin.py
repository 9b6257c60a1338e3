"""Pages for admin keys: /ui/inbox, /ui/reconciler, /ui/system and /ui/keys."""

import asyncio
from typing import Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from sqlmodel import Session

from service.api.deps import RelayDep
from service.api.keys import NewKey
from service.api.pagination import decode_cursor, encode_cursor
from service.api.reconciler import RUNS_SHOWN
from service.dashboard.format import median
from service.dashboard.render import render
from service.dashboard.session import AdminSession, FormOfAdmin, redirect_back
from service.db.schema import HEAD, check_schema, current_revision
from service.errors import SonioxUnreachableError
from service.reconcile.sweep import Finding, sweep
from service.relay import Relay
from service.services import keys as keys_service
from service.services.alerts import heartbeat_ages
from service.services.statistics import quotas
from service.settings import settings_in_force
from service.store import inbox as store_inbox
from service.store import keys, reconciler, system
from service.store import reconciler as store_reconciler
from service.store import system as store_system
from service.tables import ApiKey, Heartbeat, Webhook
from service.webhook import RecentCall

router = APIRouter()

INBOX_ROWS = 25
CALLS_SHOWN = 12
CALL_REASONS = {
    200: "stored",
    400: "no notice of Soniox's",
    401: "header missing or wrong",
    405: "not a POST",
    408: "body too slow",
    413: "body too long",
    503: "database did not take it",
}


class CallShown(NamedTuple):
    """A recent webhook call, and the reason for its status code."""

    call: RecentCall
    reason: str


@router.get("/inbox")
async def show_inbox(
    request: Request, relay: RelayDep, _visitor: AdminSession, cursor: str = Query("")
) -> Response:
    position = decode_cursor(cursor)
    found, waiting = await relay.db.read(
        lambda session: (
            store_inbox.page(session, position[1] if position else None, INBOX_ROWS),
            store_inbox.count_open(session),
        )
    )
    calls = list(reversed(request.state.webhook_calls))
    return render(
        request,
        "inbox.html",
        rows=found[:INBOX_ROWS],
        waiting=waiting,
        next_cursor=_cursor_behind(found),
        is_first=not cursor,
        calls=[CallShown(call, CALL_REASONS.get(call.status_code, "refused")) for call in calls[:CALLS_SHOWN]],
        refused=sum(call.status_code >= 400 for call in calls),
        median_us=median([call.took_us for call in calls if call.status_code == 200]),
    )


def _cursor_behind(found: list[Webhook]) -> str:
    """Return the cursor of the next page, or an empty string on the last page."""
    last = found[INBOX_ROWS - 1] if len(found) > INBOX_ROWS else None
    return encode_cursor(last.received_at_ms, last.id) if last else ""


DRY_RUN_TIMEOUT_S = 20
RUNS_SHOWN_ROWS = 200


@router.get("/reconciler")
async def show_reconciler(request: Request, relay: RelayDep, _visitor: AdminSession) -> Response:
    return render(request, "reconciler.html", findings=None, **await _reconciler_state(relay))


@router.post("/reconciler/dry-run")
async def dry_run(request: Request, relay: RelayDep, _post: FormOfAdmin) -> Response:
    """Ask Soniox about all silent jobs without changing anything."""
    try:
        async with asyncio.timeout(DRY_RUN_TIMEOUT_S):
            finds = await sweep(relay, dry_run=True)
    except TimeoutError:
        raise SonioxUnreachableError(
            f"No answer within {DRY_RUN_TIMEOUT_S} seconds; nothing was changed."
        ) from None
    return render(
        request,
        "reconciler.html",
        findings=[_finding_row(find) for find in finds[:RUNS_SHOWN_ROWS]],
        **await _reconciler_state(relay),
    )


async def _reconciler_state(relay: Relay) -> dict[str, Any]:
    runs, lease = await relay.db.read(
        lambda session: (
            store_reconciler.latest_runs(session, RUNS_SHOWN),
            system.leader_lease(session, system.RECONCILER),
        )
    )
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)
    most = max((sum(run.findings.values()) for run in runs), default=0)
    return {
        "runs": runs,
        "most_finds": most,
        "total_findings": sum(sum(run.findings.values()) for run in runs),
        "next_run_ms": runs[0].started_at_ms + interval_ms if runs else None,
        "leader": lease.holder if lease else None,
        "interval_ms": interval_ms,
        "grace_ms": int(relay.settings.relay_reconcile_grace_s * 1000),
    }


def _finding_row(find: Finding) -> dict[str, Any]:
    return {
        "id": find.job.id,
        "filename": find.job.filename,
        "local_stage": find.job.stage,
        "soniox_status_now": find.status,
        "actionable": find.actionable,
        "action": f"would {find.action}" if find.actionable else find.action,
        "diagnosis": find.diagnosis if find.actionable else "",
    }


@router.get("/system")
async def show_system(request: Request, relay: RelayDep, _visitor: AdminSession) -> Response:
    facts = await relay.db.read(lambda session: _system_facts(relay, session))
    return render(request, "system.html", settings=settings_in_force(relay.settings), **facts)


def _system_facts(relay: Relay, session: Session) -> dict[str, Any]:
    now_ms = relay.clock()
    beats = store_system.heartbeats_of(session)
    return {
        "database": {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[relay.db.dialect.name],
        "revision": current_revision(session.connection()),
        "newest": HEAD,
        "misfit": check_schema(session.connection()),
        "life": heartbeat_ages(beats, relay.settings, now_ms),
        "beats": sorted(beats.values(), key=lambda beat: -beat.at_ms),
        "saying": {beat.name: _worker_note(beat) for beat in beats.values()},
        "stalled": reconciler.stalled(session, now_ms, now_ms - reconciler.STALLED_AFTER_MS),
        "quotas": quotas(relay, session),
        "this_process": relay.process_id,
        "trouble": relay.governor.blocked_reason(),
    }


def _worker_note(beat: Heartbeat) -> str:
    """Return the details of a heartbeat in one line."""
    return ", ".join(f"{name}: {value}" for name, value in beat.detail.items() if value not in (None, {}, ""))


@router.get("/keys")
async def keyring(request: Request, relay: RelayDep, _visitor: AdminSession) -> Response:
    return await _keys_page(request, relay)


@router.post("/keys")
async def create_key(request: Request, relay: RelayDep, post: FormOfAdmin) -> Response:
    try:
        wanted = NewKey.model_validate({"name": post.get("name").strip(), "scopes": post.all("scope")})
    except ValidationError:
        return await _keys_page(request, relay, problem="A key needs a name of 1 to 200 characters and a scope.")
    made, secret = await keys_service.create_key(relay, wanted.name, list(wanted.scopes))
    return await _keys_page(request, relay, made=made, secret=secret)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(request: Request, key_id: str, relay: RelayDep, _post: FormOfAdmin) -> Response:
    await keys_service.revoke_key(relay, key_id)
    return redirect_back(request, "/ui/keys", "The key is revoked, and every session that it opened is over.")


async def _keys_page(
    request: Request, relay: Relay, *, made: ApiKey | None = None, secret: str = "", problem: str = ""
) -> Response:
    found = await relay.db.read(keys.list_valid)
    return render(
        request, "keys.html", 400 if problem else 200, keys=found, made=made, secret=secret, problem=problem
    )
