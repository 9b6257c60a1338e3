"""POST /webhooks/soniox: check the header, store the hint, answer.

A plain Starlette route, because every microsecond here is paid for each webhook. The header is compared before
a byte of the body is read; a stranger learns nothing, whatever is wrong. 200 means on disk. Unknown jobs are
stored like known ones: a webhook may be earlier than our own commit.
"""

import asyncio
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service import telemetry
from service.errors import Unavailable
from service.ids import is_uuid, new_uuid
from service.relay import Relay
from service.schemas import error_body
from service.store import webhooks
from service.tables import Webhook

log = structlog.get_logger(__name__)

LARGEST_BODY = 16 * 1024  # bytes
BODY_WITHIN_S = 5.0
LONGEST_STATUS = 64  # characters


class Notice(msgspec.Struct):
    """What Soniox sends."""

    id: str
    status: str


class TooLong(Exception):
    """The body is over LARGEST_BODY."""


async def receive(request: Request) -> Response:
    """Take in one webhook."""
    relay: Relay = request.app.state.relay
    job = _job(request)
    given = request.headers.get(relay.settings.soniox_api_webhook_header, "")
    if not relay.vault.knows_webhook_secret(given.encode("latin-1"), job):
        return _refuse(401, "unauthenticated", "the webhook header is missing or wrong")
    try:
        notice = _parse(await _read(request))
    except TooLong:
        return _refuse(413, "request_too_large", f"the body is longer than {LARGEST_BODY} bytes")
    except TimeoutError:
        return _refuse(408, "request_timeout", "the body did not arrive in time")
    except (msgspec.MsgspecError, ValueError, ClientDisconnect):
        return _refuse(400, "invalid_request", 'the body is not {"id": uuid, "status": string}')
    return await _store(relay, job, notice)


async def _store(relay: Relay, job: str, notice: Notice) -> Response:
    now_ms = relay.clock()
    row = Webhook(
        id=new_uuid(now_ms),
        job=job,
        soniox_id=notice.id.lower(),
        status=notice.status,
        source="webhook",
        received_at_ms=now_ms,
        last_seen_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    try:
        await relay.db.write_one_of(webhooks.record, row, wake=("collect",))
    except Unavailable as error:
        log.warning("webhook_not_stored", job_id=job, reason=str(error))
        return _refuse(503, "service_unavailable", "the webhook could not be stored; send it again")
    telemetry.webhooks_received.labels("stored").inc()
    return Response(b'{"received":true}', media_type="application/json")


def _job(request: Request) -> str:
    query: str = request.scope["query_string"].decode("latin-1")
    return (parse_qs(query).get("job") or [""])[0]


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_WITHIN_S):
        async for part in request.stream():
            size += len(part)
            if size > LARGEST_BODY:
                raise TooLong
            parts.append(part)
    return b"".join(parts)


def _parse(body: bytes) -> Notice:
    notice = msgspec.json.decode(body, type=Notice)
    is_word = 0 < len(notice.status) <= LONGEST_STATUS and notice.status.isprintable()
    if not is_uuid(notice.id) or not is_word:
        raise ValueError("not a notice")
    return notice


def _refuse(status_code: int, error_type: str, message: str) -> Response:
    telemetry.webhooks_received.labels(error_type).inc()
    headers = {"Retry-After": "5"} if status_code == 503 else {}
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return JSONResponse(error_body(status_code, error_type, message, request_id), status_code, headers)
