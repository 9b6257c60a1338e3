"""POST /webhooks/soniox: checks the header, stores an inbox entry, answers.

The header is checked before the body is read, and every failed check gets the same response. 200 means that the
entry is committed. Unknown jobs are stored too: a webhook may arrive before our own commit.
"""

import time
from collections import deque
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec
import structlog
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from service.errors import InvalidRequestError, UnauthenticatedError, UnavailableError
from service.ids import is_uuid, new_uuid
from service.rate_limits import address_of
from service.relay import Relay
from service.store import inbox
from service.store.inbox import InboxEntry

log = structlog.get_logger(__name__)

MAX_STATUS_LENGTH = 64  # characters
MAX_QUERY_LENGTH = 200  # bytes kept of a query string that anyone may have sent
RECENT_CALLS = 200


class WebhookPayload(msgspec.Struct):
    """The body of Soniox's webhook."""

    id: str
    status: str


class RecentCall(NamedTuple):
    """One call of the webhook route, refused or not. `query` is the query string, cut to MAX_QUERY_LENGTH."""

    at_ms: int
    query: bytes
    status_code: int
    took_us: int

    @property
    def job(self) -> str:
        """The transcription id in the query string, or an empty string."""
        return (parse_qs(self.query.decode("latin-1")).get("job") or [""])[0]


RecentCalls = deque[RecentCall]
payloads = msgspec.json.Decoder(WebhookPayload)


def recent_calls() -> RecentCalls:
    """Create the in-memory list of this process's last calls, which shows why webhooks are refused."""
    return deque(maxlen=RECENT_CALLS)


async def receive(request: Request) -> Response:
    """Answer one call and add it to the recent calls. The middleware limits the body and counts metrics."""
    began_s, now_ms = time.perf_counter(), request.state.relay.clock()
    status_code = 200
    try:
        await _store(request, now_ms)
    except Exception as error:
        status_code = 400 if isinstance(error, ClientDisconnect) else getattr(error, "status_code", 500)
        raise
    finally:
        took_us = int((time.perf_counter() - began_s) * 1_000_000)
        query = request.scope["query_string"][:MAX_QUERY_LENGTH]
        request.state.webhook_calls.append(RecentCall(now_ms, query, status_code, took_us))
    return Response(b'{"received":true}', media_type="application/json")


async def _store(request: Request, now_ms: int) -> None:
    """Store the entry; returns after the commit. Raises CallerError, HTTPException and UnavailableError."""
    relay: Relay = request.state.relay
    job = _authenticated_job(request, relay)
    payload = _payload(await request.body())
    entry = InboxEntry(new_uuid(now_ms), job, payload.id.lower(), payload.status, "webhook", now_ms)
    try:
        await relay.db.write_many(inbox.record, entry, wake=("collect",))
    except UnavailableError as error:
        log.warning("webhook_not_stored", job_id=job, reason=str(error))
        raise


def _authenticated_job(request: Request, relay: Relay) -> str:
    """Return the job in the query string, or "" for a transcription the relay did not create.

    Raises UnauthenticatedError, the same for an unknown job and a wrong header. The rate limiter counts the
    refusal for its address but does not answer 429 here: the header is compared already, and a 429 would hide a
    wrong secret.
    """
    job = request.query_params.get("job", "")
    given = request.headers.get(relay.settings.soniox_api_webhook_header, "").encode("latin-1")
    if (job == "" or is_uuid(job)) and relay.secret_box.knows_webhook_secret(given, job):
        return job
    request.state.anonymous_limiter.count(address_of(request.scope))
    raise UnauthenticatedError("the webhook header is missing or wrong")


def _payload(body: bytes) -> WebhookPayload:
    """Decode the body. Raises InvalidRequestError."""
    try:
        payload = payloads.decode(body)
    except (msgspec.MsgspecError, ValueError):
        payload = None
    if payload is None or not is_uuid(payload.id) or not _is_word(payload.status):
        raise InvalidRequestError('the body is not {"id": uuid, "status": string}')
    return payload


def _is_word(status: str) -> bool:
    return 0 < len(status) <= MAX_STATUS_LENGTH and status.isprintable()
