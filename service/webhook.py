"""POST /webhooks/soniox: check the header, store the hint, answer.

The header is compared before a byte of the body is read; a stranger learns nothing, whatever is wrong. 200 means
on disk. Unknown jobs are stored like known ones: a webhook may be earlier than our own commit.
"""

import asyncio
import time

import msgspec
import structlog
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import telemetry
from service.errors import CallerError, InvalidRequest, TooLarge, Unauthenticated, Unavailable
from service.ids import is_uuid, new_uuid
from service.inbound import LONGEST_QUERY, Call
from service.relay import Relay
from service.store import webhooks
from service.store.webhooks import Hint
from service.strangers import Strangers, address_of

log = structlog.get_logger(__name__)

LARGEST_BODY = 16 * 1024  # bytes
BODY_WITHIN_S = 5.0
LONGEST_STATUS = 64  # characters


class Notice(msgspec.Struct):
    """What Soniox sends."""

    id: str
    status: str


notices = msgspec.json.Decoder(Notice)


async def receive(request: Request) -> Response:
    """Answer one call, and keep in memory what it was: see `inbound`."""
    began_ns, now_ms = time.perf_counter_ns(), request.state.relay.clock()
    status_code, result = 500, "internal_error"
    try:
        await _store(request, now_ms)
        status_code, result = 200, "stored"
    except CallerError as error:
        status_code, result = error.status_code, error.kind
        raise
    except HTTPException as error:
        status_code, result = error.status_code, "request_timeout"
        raise
    except ClientDisconnect:
        status_code, result = 400, "invalid_request"
        raise
    except Unavailable:
        status_code, result = 503, "service_unavailable"
        raise
    finally:
        telemetry.webhooks_received.labels(result).inc()
        took_us = (time.perf_counter_ns() - began_ns) // 1000
        query = request.scope["query_string"][:LONGEST_QUERY]
        request.state.webhook_calls.append(Call(now_ms, query, status_code, took_us))
    return JSONResponse({"received": True})


async def _store(request: Request, now_ms: int) -> None:
    """Raises CallerError, HTTPException and Unavailable; returns once the hint is on disk."""
    relay: Relay = request.state.relay
    job = _authenticated_job(request, relay)
    notice = await _notice(request)
    hint = Hint(new_uuid(now_ms), job, notice.id.lower(), notice.status, "webhook", now_ms)
    started_s = time.perf_counter()
    try:
        await relay.db.write_many(webhooks.record, hint, wake=("collect",))
    except Unavailable as error:
        log.warning("webhook_not_stored", job_id=job, reason=str(error))
        raise
    telemetry.webhook_seconds.observe(time.perf_counter() - started_s)


def _authenticated_job(request: Request, relay: Relay) -> str:
    """The job that is named, or nothing for one that the relay did not create. Raises Unauthenticated.

    The refusal is the same for an unknown job, a wrong header and any body, however often. It counts among the
    guesses of its address, which are refused elsewhere; here a 429 would spare nothing, since the header was
    compared already, and would hide a secret that is set wrongly behind the words of a full quota.
    """
    job = request.query_params.get("job", "")
    given = request.headers.get(relay.settings.soniox_api_webhook_header, "").encode("latin-1")
    if (job == "" or is_uuid(job)) and relay.vault.knows_webhook_secret(given, job):
        return job
    strangers: Strangers = request.state.strangers
    strangers.count(address_of(request.scope))
    raise Unauthenticated("the webhook header is missing or wrong")


async def _notice(request: Request) -> Notice:
    """Raises InvalidRequest, TooLarge, and HTTPException for a body that is not there in time."""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            notice = notices.decode(await _body(request))
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
    except (msgspec.MsgspecError, ValueError):
        notice = None
    if notice is None or not is_uuid(notice.id) or not _is_word(notice.status):
        raise InvalidRequest('the body is not {"id": uuid, "status": string}')
    return notice


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise TooLarge(f"the body is longer than {LARGEST_BODY} bytes")
    return body


def _is_word(status: str) -> bool:
    return 0 < len(status) <= LONGEST_STATUS and status.isprintable()
