"""Headers of the caller's own choice: which ones are allowed. Pure."""

import re
from collections.abc import Mapping

MOST_HEADERS = 20
LONGEST_NAME = 256  # as Soniox takes for the header of its webhooks
LONGEST_VALUE = 2048

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110: a token
VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)

# The relay sets these, or HTTP does, or they would change where a request ends or how it is read.
FORBIDDEN = frozenset(
    (
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("forwarded", "host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    )
)
FORBIDDEN_BEGINNINGS = ("webhook-", "proxy-", "sec-")


def mistakes_in(headers: Mapping[str, str]) -> list[str]:
    """One line for each mistake, without repeating a value."""
    found = [f"at most {MOST_HEADERS} headers are allowed"] if len(headers) > MOST_HEADERS else []
    if len({name.lower() for name in headers}) < len(headers):
        found.append("a header is named twice; case makes no difference")
    for name, value in headers.items():
        if mistake := _mistake_in(name, value):
            found.append(mistake)
    return found


def _mistake_in(name: str, value: str) -> str | None:
    if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
        return f"a header's name must be a token of at most {LONGEST_NAME} characters: letters, digits, hyphens"
    if name.lower() in FORBIDDEN or name.lower().startswith(FORBIDDEN_BEGINNINGS):
        return f"`{name}` is set by the relay or by HTTP itself"
    if len(value) > LONGEST_VALUE or not VALUE.fullmatch(value):
        return f"the value of `{name}` must be visible ASCII of at most {LONGEST_VALUE} characters"
    return None
