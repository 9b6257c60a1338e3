"""Rate limits: a token bucket for each API key, and for each address without a valid key."""

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.errors import TooManyRequestsError

WINDOW_S = 60
MAX_BUCKETS = 10_000  # the least recently used are dropped and start full when they return


@dataclass
class Bucket:
    """The remaining requests of one key."""

    tokens: float
    filled_at_s: float


@dataclass
class RateLimiter:
    """Buckets of `per_minute` requests; 0 means no limit. `clock` returns seconds."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)


def acquire(limits: RateLimiter, key: str) -> tuple[dict[str, str], int]:
    """Take one request from the bucket of `key`.

    Returns the rate limit headers and the seconds to wait, which are 0 if the request is allowed.
    """
    if not limits.per_minute:
        return {}, 0
    bucket = _refilled(limits, key)
    if bucket.tokens < 1:
        return headers_of(limits, bucket), math.ceil((1 - bucket.tokens) * WINDOW_S / limits.per_minute)
    bucket.tokens -= 1
    return headers_of(limits, bucket), 0


def release(limits: RateLimiter, key: str) -> None:
    """Undo one `acquire`."""
    if limits.per_minute:
        bucket = _refilled(limits, key)
        bucket.tokens = min(limits.per_minute, bucket.tokens + 1)


def headers_of(limits: RateLimiter, bucket: Bucket) -> dict[str, str]:
    """Return the headers `RateLimit-Policy` and `RateLimit`."""
    full_in_s = math.ceil((limits.per_minute - bucket.tokens) * WINDOW_S / limits.per_minute)
    return {
        "RateLimit-Policy": f'"key";q={limits.per_minute};w={WINDOW_S}',
        "RateLimit": f'"key";r={int(bucket.tokens)};t={full_in_s}',
    }


def _refilled(limits: RateLimiter, key: str) -> Bucket:
    now_s = limits.clock()
    bucket = limits.buckets.setdefault(key, Bucket(limits.per_minute, now_s))
    limits.buckets.move_to_end(key)
    if len(limits.buckets) > MAX_BUCKETS:
        limits.buckets.popitem(last=False)
    gained = (now_s - bucket.filled_at_s) * limits.per_minute / WINDOW_S
    bucket.tokens = min(limits.per_minute, bucket.tokens + gained)
    bucket.filled_at_s = now_s
    return bucket


MAX_KNOWN_KEYS = 10_000
IPV6_PREFIX_BITS = 64  # one customer has at least a network of this size


class AnonymousRateLimiter:
    """Limits requests without a valid key for each address. `per_minute` 0 means no limit.

    Keys that were valid recently are remembered and not counted.
    """

    def __init__(self, per_minute: int) -> None:
        self._limits = RateLimiter(per_minute)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    @contextmanager
    def visit(self, address: str, key: str) -> Iterator[None]:
        """Check a key inside this block. An exception inside counts as a request without a valid key.

        Raises TooManyRequestsError before the block if the address is over its limit.
        """
        digest = hashlib.sha256(key.encode()).digest()
        known = self._known.pop(digest, True) is None
        if not known and (wait_s := self.count(address)):
            text = f"this address may make {self._limits.per_minute} requests per minute without a valid key"
            raise TooManyRequestsError(text, retry_after_s=wait_s)
        yield
        self._known[digest] = None
        if len(self._known) > MAX_KNOWN_KEYS:
            self._known.popitem(last=False)
        if not known:
            release(self._limits, address)

    def count(self, address: str) -> int:
        """Count one request without a valid key. Returns the seconds to wait, 0 if it is allowed."""
        return acquire(self._limits, address)[1]


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of the client, or its network for IPv6.

    uvicorn has already applied the headers of a trusted proxy.
    """
    try:
        ip = ipaddress.ip_address((scope.get("client") or [""])[0])
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, IPV6_PREFIX_BITS), strict=False)) if ip.version == 6 else str(ip)
