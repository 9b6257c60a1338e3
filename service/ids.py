"""Ids that sort by time: UUIDs of version 7 (RFC 9562), bare where Soniox uses them, else with a prefix."""

import os
import re

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


_CHANCES = 64  # fetched from the system at once: a trip there costs more than all else of an id
_fetched: list[str] = []
os.register_at_fork(after_in_child=_fetched.clear)  # so that no two processes share any


def new_uuid(now_ms: int) -> str:
    """A UUIDv7 for the moment `now_ms` (ms since 1970): 48 bits of time, 74 bits of chance."""
    time, chance = f"{now_ms & (2**48 - 1):012x}", _chance()
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def new_id(prefix: str, now_ms: int) -> str:
    """An id such as `evt_0197...`; it holds no full stop, which the webhook signature uses as separator."""
    return f"{prefix}_{new_uuid(now_ms).replace('-', '')}"


def is_uuid(text: str) -> bool:
    """True for the canonical 36-character form, in either case."""
    return CANONICAL_UUID.fullmatch(text) is not None


def sane_request_id(given: bytes) -> str | None:
    """A caller's own `X-Request-ID`, if it can spoil neither a log line nor a header."""
    return given.decode() if SANE_REQUEST_ID.fullmatch(given) else None


def is_own_id(text: str) -> bool:
    """True for the form that `new_id` makes."""
    return re.fullmatch(r"[a-z]+_[0-9a-f]{32}", text, re.ASCII) is not None


def time_of_id(text: str) -> int | None:
    """The moment (ms since 1970) in an id that `new_id` made; None for any other text."""
    return int(text.rpartition("_")[2][:12], 16) if is_own_id(text) else None


def _chance() -> str:
    """80 bits of chance as 20 hexadecimal digits; threads may ask at the same time."""
    try:
        return _fetched.pop()
    except IndexError:
        digits = os.urandom(10 * _CHANCES).hex()
        first, *others = (digits[place : place + 20] for place in range(0, len(digits), 20))
        _fetched.extend(others)
        return first
