"""The command `verify`: check a Standard Webhooks signature step by step, with the cause of a failure."""

import base64
import binascii
import hmac
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import AsJson, CommandError, UsageError
from service.downstream.messages import signed_headers

PREFIX = "whsec_"
DIGEST_BYTES = 32


@dataclass(frozen=True)
class SignedRequest:
    """The headers and the body of a received event."""

    event_id: str
    timestamp: str
    signature: str
    body: bytes


@dataclass(frozen=True)
class VerifyStep:
    """One step of the verification; `problem` is empty when it passes."""

    name: str
    problem: str


def verify_steps(request: SignedRequest, secret: str, tolerance_s: int) -> list[VerifyStep]:
    """Return the steps. When a value is malformed, the steps that depend on it are omitted."""
    forms = [
        VerifyStep("secret", _wrong_secret(secret)),
        VerifyStep("id", "" if request.event_id.strip() else "it is empty"),
        VerifyStep("timestamp", _wrong_timestamp(request.timestamp)),
        VerifyStep("signature's form", _wrong_form(request.signature)),
    ]
    if any(step.problem for step in forms):
        return forms
    age = VerifyStep("age", _wrong_age(int(request.timestamp), tolerance_s))
    return [*forms, VerifyStep("signature", _mismatch(request, secret)), age]


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


def _mismatch(request: SignedRequest, secret: str) -> str:
    if _signs(request, secret, request.body):
        return ""
    if _signs(request, secret, request.body.rstrip(b"\r\n")):
        return "it is right without the line break at the end: the body was changed when it was saved"
    if _signs(request, secret, request.body + b"\n"):
        return "it is right with a line break at the end: the body was changed when it was saved"
    if _signs(request, base64.b64encode(secret.encode()).decode(), request.body):
        return "it was made with the text of the secret; the key is what follows whsec_, decoded from base64"
    return "it is another's: the secret is not the one that signed, or id, timestamp or body were changed"


def _signs(request: SignedRequest, secret: str, body: bytes) -> bool:
    expected = signed_headers(request.event_id, int(request.timestamp), body, [secret])["webhook-signature"]
    given = request.signature.encode().split()
    return any(hmac.compare_digest(one, expected.encode()) for one in given)


def _wrong_age(timestamp_s: int, tolerance_s: int) -> str:
    age_s = int(time.time()) - timestamp_s
    if not tolerance_s or abs(age_s) <= tolerance_s:
        return ""
    when = f"{age_s} s old" if age_s > 0 else f"{-age_s} s in the future"
    return f"it is {when}, more than {tolerance_s} s; --tolerance 0 takes any age"


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verify", rich_help_panel="Talk to it")(verify)


def verify(
    event_id: Annotated[str, typer.Option("--id", help="The header `webhook-id`.")],
    timestamp: Annotated[str, typer.Option(help="The header `webhook-timestamp`.")],
    signature: Annotated[str, typer.Option(help="The header `webhook-signature`, whole.")],
    body: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The body, byte for byte; - is standard input.")
    ] = "-",
    secret: Annotated[
        str, typer.Option(envvar="WEBHOOK_SECRET", help="The endpoint's; the variable keeps it private.")
    ] = "",
    tolerance: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, help="How old it may be; 0 for any age.")
    ] = 300,
    as_json: AsJson = False,
) -> None:
    """Check the signature of an event by hand, and say which step fails. Needs no relay."""
    from service.cli.console import print_json, print_rows

    if not secret:
        raise UsageError("no secret", "set WEBHOOK_SECRET or give --secret")
    steps = verify_steps(SignedRequest(event_id, timestamp, signature, _read(body)), secret, tolerance)
    failed = [step for step in steps if step.problem]
    if as_json:
        shown = [{"step": step.name, "ok": not step.problem, "problem": step.problem or None} for step in steps]
        print_json({"verified": not failed, "steps": shown})
    else:
        print_rows(["step", "result"], [[step.name, step.problem or "ok"] for step in steps])
    if failed:
        raise CommandError(f"it does not verify: {failed[0].name}: {failed[0].problem}")


def _read(body: str) -> bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(body).read_bytes()
    except OSError as error:
        raise UsageError(f"{body} cannot be read: {error.strerror}") from None
