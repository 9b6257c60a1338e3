"""POST /webhooks/soniox: check the header, store the hint, answer.

It stands in front of the application (`app.App`) and speaks ASGI itself, because what that does for every other
call (routing, request ids, error pages) would cost more than the webhook. The header is compared before a
byte of the body is read; a stranger learns nothing, whatever is wrong. 200 means on disk. Unknown jobs are stored
like known ones: a webhook may be earlier than our own commit.
"""

import asyncio
import re
import time
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.datastructures import State
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from service import telemetry
from service.errors import Unavailable
from service.ids import is_uuid, new_uuid, sane_request_id
from service.inbound import BODY_IS_HERE, LONGEST_QUERY, Call
from service.relay import Relay
from service.schemas import error_body
from service.store import webhooks
from service.store.webhooks import Hint
from service.strangers import Strangers, address_of

log = structlog.get_logger(__name__)

LARGEST_BODY = 16 * 1024  # bytes
BODY_WITHIN_S = 5.0
LONGEST_STATUS = 64  # characters
UNFORESEEN = "an unforeseen error; the request id finds it in the log"
RECEIVED = b'{"received":true}'
OUR_QUERY = re.compile(rb"job=([0-9a-f-]{36})")  # as we write it; anything else is parsed with care
CURES = {405: {"Allow": "POST"}, 503: {"Retry-After": "5"}}  # headers that say what to do instead

stored = telemetry.webhooks_received.labels("stored")


class Notice(msgspec.Struct):
    """What Soniox sends."""

    id: str
    status: str


class TooLong(Exception):
    """The body is over LARGEST_BODY."""


class HungUp(Exception):
    """The body ends in the middle."""


notices = msgspec.json.Decoder(Notice)


async def take_in(state: State, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one call of the webhook route; `state` is the application's."""
    began_ns = time.perf_counter_ns()
    relay: Relay = state.relay
    now_ms = relay.clock()
    hint_id = new_uuid(now_ms)
    own_id = f"req_{hint_id.replace('-', '')}"  # so that a log line leads to the row
    request_id = sane_request_id(_header(scope, b"x-request-id")) or own_id
    try:
        refusal = await _take(state, scope, receive, hint_id, now_ms, request_id)
    except Exception as error:  # nobody stands in front of this route who could answer for it
        log.error("webhook_failed", request_id=request_id, exc_info=error)
        refusal = _refuse(500, "internal_error", UNFORESEEN, request_id)
    status_code = 200 if refusal is None else refusal.status_code
    took_us = (time.perf_counter_ns() - began_ns) // 1000
    state.webhook_calls.append(Call(now_ms, scope["query_string"][:LONGEST_QUERY], status_code, took_us))
    if refusal is None:
        await _accept(send, request_id.encode())
    else:
        await refusal(scope, receive, send)


async def _take(
    state: State, scope: Scope, receive: Receive, hint_id: str, now_ms: int, request_id: str
) -> Response | None:
    """Store what is said; an answer when it is refused."""
    relay: Relay = state.relay
    if scope["method"] != "POST":
        return _refuse(405, "method_not_allowed", "only POST is taken here", request_id)
    job = _job(scope["query_string"])
    given = _header(scope, relay.settings.soniox_api_webhook_header.lower().encode())
    if job is None or not relay.vault.knows_webhook_secret(given, job):
        return _refuse_stranger(state, scope, request_id)
    try:
        notice = _parse(await _body(scope, receive))
    except TooLong:
        return _refuse(413, "request_too_large", f"the body is longer than {LARGEST_BODY} bytes", request_id)
    except TimeoutError:
        return _refuse(408, "request_timeout", "the body did not arrive in time", request_id)
    except (msgspec.MsgspecError, ValueError, HungUp):
        return _refuse(400, "invalid_request", 'the body is not {"id": uuid, "status": string}', request_id)
    started_s = time.perf_counter()
    hint = Hint(hint_id, job, notice.id.lower(), notice.status, "webhook", now_ms)
    try:
        await relay.db.write_one_of(webhooks.record, hint, wake=("collect",))
    except Unavailable as error:
        log.warning("webhook_not_stored", job_id=job, reason=str(error), request_id=request_id)
        return _refuse(503, "service_unavailable", "the webhook could not be stored; send it again", request_id)
    stored.inc()
    telemetry.webhook_seconds.observe(time.perf_counter() - started_s)
    return None


def _job(query: bytes) -> str | None:
    """The job; empty when none is named, None for what cannot be one."""
    ours = OUR_QUERY.fullmatch(query)
    if ours:
        return ours[1].decode()
    job = (parse_qs(query.decode("latin-1")).get("job") or [""])[0]
    return job if job == "" or is_uuid(job) else None


def _header(scope: Scope, wanted: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return b""


async def _body(scope: Scope, receive: Receive) -> bytes:
    if BODY_IS_HERE in (scope.get("extensions") or ()):
        return await _read(receive)  # a deadline costs more than such a read
    async with asyncio.timeout(BODY_WITHIN_S):
        return await _read(receive)


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > LARGEST_BODY:
            raise TooLong
        if not message.get("more_body", False):
            return body


def _parse(body: bytes) -> Notice:
    notice = notices.decode(body)
    is_word = 0 < len(notice.status) <= LONGEST_STATUS and notice.status.isprintable()
    if not is_uuid(notice.id) or not is_word:
        raise ValueError("not a notice")
    return notice


async def _accept(send: Send, request_id: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(RECEIVED)),
        (b"x-request-id", request_id),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": RECEIVED})


def _refuse_stranger(state: State, scope: Scope, request_id: str) -> Response:
    """The same for an unknown job, a wrong header and any body, however often.

    It counts among the guesses of its address, which are refused elsewhere; here a 429 would spare nothing, since
    the header was compared already, and would hide a secret that is set wrongly behind the words of a full quota.
    """
    strangers: Strangers = state.strangers
    strangers.count(address_of(scope))
    return _refuse(401, "unauthenticated", "the webhook header is missing or wrong", request_id)


def _refuse(status_code: int, error_type: str, message: str, request_id: str) -> Response:
    telemetry.webhooks_received.labels(error_type).inc()
    body = error_body(status_code, error_type, message, request_id)
    return JSONResponse(body, status_code, {"X-Request-ID": request_id, **CURES.get(status_code, {})})
