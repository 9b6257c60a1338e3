"""The steps of verifying a Standard Webhooks signature, each with what is wrong when it fails."""

import base64
import binascii
import hmac
import time
from dataclasses import dataclass

from service.downstream.messages import signed_headers

PREFIX = "whsec_"
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Request:
    """What came in."""

    event_id: str
    timestamp: str
    signature: str
    body: bytes


@dataclass(frozen=True)
class Step:
    """One thing that must hold; `problem` is empty when it does."""

    name: str
    problem: str


def check(request: Request, secret: str, tolerance_s: int) -> list[Step]:
    """The steps up to the first one that others depend on and that fails."""
    forms = [
        Step("secret", _wrong_secret(secret)),
        Step("id", "" if request.event_id.strip() else "it is empty"),
        Step("timestamp", _wrong_timestamp(request.timestamp)),
        Step("signature's form", _wrong_form(request.signature)),
    ]
    if any(step.problem for step in forms):
        return forms
    age = Step("age", _wrong_age(int(request.timestamp), tolerance_s))
    return [*forms, Step("signature", _mismatch(request, secret)), age]


def _wrong_secret(secret: str) -> str:
    try:
        raw = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows {PREFIX} is not base64; was it copied whole?"
    return "" if raw else "it is empty"


def _wrong_timestamp(timestamp: str) -> str:
    if not timestamp.isascii() or not timestamp.isdecimal() or str(int(timestamp)) != timestamp:
        return "it is not a whole number of seconds since 1970"
    return "it is in milliseconds; the header has seconds" if len(timestamp) >= len("1000000000000") else ""


def _wrong_form(signature: str) -> str:
    ours = [one.removeprefix("v1,") for one in signature.split() if one.startswith("v1,")]
    if not ours:
        return "no part of it begins with v1,"
    return "" if any(_is_digest(one) for one in ours) else "what follows v1, is not the base64 of 32 bytes"


def _is_digest(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == DIGEST_BYTES
    except (binascii.Error, ValueError):
        return False


def _mismatch(request: Request, secret: str) -> str:
    if _signs(request, secret, request.body):
        return ""
    if _signs(request, secret, request.body.rstrip(b"\r\n")):
        return "it is right without the line break at the end: the body was changed when it was saved"
    if _signs(request, secret, request.body + b"\n"):
        return "it is right with a line break at the end: the body was changed when it was saved"
    if _signs(request, base64.b64encode(secret.encode()).decode(), request.body):
        return "it was made with the text of the secret; the key is what follows whsec_, decoded from base64"
    return "it is another's: the secret is not the one that signed, or id, timestamp or body were changed"


def _signs(request: Request, secret: str, body: bytes) -> bool:
    expected = signed_headers(request.event_id, int(request.timestamp), body, [secret])["webhook-signature"]
    given = request.signature.encode().split()
    return any(hmac.compare_digest(one, expected.encode()) for one in given)


def _wrong_age(timestamp_s: int, tolerance_s: int) -> str:
    age_s = int(time.time()) - timestamp_s
    if not tolerance_s or abs(age_s) <= tolerance_s:
        return ""
    when = f"{age_s} s old" if age_s > 0 else f"{-age_s} s in the future"
    return f"it is {when}, more than {tolerance_s} s; --tolerance 0 takes any age"
