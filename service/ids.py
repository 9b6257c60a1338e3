"""Ids that sort by time: UUIDv7 (RFC 9562), plain where Soniox uses UUIDs, otherwise with a prefix."""

import os
import re

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


_CHANCES = 64  # random parts per system call, which costs more than the rest of an id
_fetched: list[str] = []
os.register_at_fork(after_in_child=_fetched.clear)  # two processes must not share random bytes


def new_uuid(now_ms: int) -> str:
    """Return a UUIDv7 for `now_ms` (ms since 1970): 48 bits of time and 74 random bits."""
    time, chance = f"{now_ms & (2**48 - 1):012x}", _chance()
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def new_id(prefix: str, now_ms: int) -> str:
    """Return an id such as `evt_0197...`. It has no full stop, the separator in webhook signatures."""
    return f"{prefix}_{new_uuid(now_ms).replace('-', '')}"


def is_uuid(text: str) -> bool:
    """Return whether `text` is a UUID in the canonical form of 36 characters, in either case."""
    return CANONICAL_UUID.fullmatch(text) is not None


def sane_request_id(given: bytes) -> str | None:
    """Return a caller's `X-Request-ID` if it is safe in log lines and headers, else None."""
    return given.decode() if SANE_REQUEST_ID.fullmatch(given) else None


def is_own_id(text: str) -> bool:
    """Return whether `text` has the format of `new_id`."""
    return re.fullmatch(r"[a-z]+_[0-9a-f]{32}", text, re.ASCII) is not None


def time_of_id(text: str) -> int | None:
    """Return the time (ms since 1970) in an id of `new_id`. None for any other text."""
    return int(text.rpartition("_")[2][:12], 16) if is_own_id(text) else None


def _chance() -> str:
    """Return 80 random bits as 20 hexadecimal digits. Thread-safe."""
    try:
        return _fetched.pop()
    except IndexError:
        digits = os.urandom(10 * _CHANCES).hex()
        first, *others = (digits[place : place + 20] for place in range(0, len(digits), 20))
        _fetched.extend(others)
        return first
