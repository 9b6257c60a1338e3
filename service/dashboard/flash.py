"""One sentence about what was just done, kept for the next page in a signed cookie of a few seconds."""

import base64
import binascii
from typing import NamedTuple

from fastapi import Request, Response

from service.dashboard.sessions import set_cookie

COOKIE = "relay_flash"
LASTS_S = 20
LONGEST = 600  # characters
PURPOSE = "dashboard flash"


class Flash(NamedTuple):
    """What to say, and whether it is good news."""

    message: str
    good: bool


def flash(request: Request, response: Response, message: str, *, good: bool) -> None:
    """Say this on the next page. Never a secret."""
    content = base64.urlsafe_b64encode(f"{'+' if good else '-'}{message[:LONGEST]}".encode()).decode()
    signature = request.state.relay.vault.sign(PURPOSE, content)
    set_cookie(response, request, COOKIE, f"{content}.{signature}", LASTS_S)


def take_flash(request: Request) -> Flash | None:
    """What is to be said now; the caller deletes the cookie with the answer."""
    content, _, signature = request.cookies.get(COOKIE, "").partition(".")
    if not content or not request.state.relay.vault.knows_signature(PURPOSE, content, signature):
        return None
    try:
        text = base64.urlsafe_b64decode(content).decode()
    except (binascii.Error, ValueError):
        return None
    return Flash(text[1:], text[:1] == "+")
