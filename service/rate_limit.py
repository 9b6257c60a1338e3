"""How many requests a key may make: a token bucket for each key, in this process.

The figures go out with every answer in the structured fields of draft-ietf-httpapi-ratelimit-headers: the quota
`q` per window `w`, what remains `r`, and the seconds `t` until the bucket is full again. With several processes
behind one address each grants the full rate; the limit is there against runaway loops, not for billing.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 60
MOST_BUCKETS = 10_000  # those that were not used for longest are forgotten: they are full again


@dataclass
class Bucket:
    """What one key has left."""

    tokens: float
    filled_at_s: float


@dataclass
class Limits:
    """Buckets of `per_minute` requests; 0 means that there is no limit. `clock` gives seconds."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)


def spend(limits: Limits, key: str) -> tuple[dict[str, str], int]:
    """Take one request from the bucket: the headers that tell, and the seconds to wait, 0 when it is granted."""
    if not limits.per_minute:
        return {}, 0
    bucket = _filled(limits, key)
    if bucket.tokens < 1:
        return headers_of(limits, bucket), math.ceil((1 - bucket.tokens) * WINDOW_S / limits.per_minute)
    bucket.tokens -= 1
    return headers_of(limits, bucket), 0


def give_back(limits: Limits, key: str) -> None:
    """Undo one `spend`."""
    if limits.per_minute:
        bucket = _filled(limits, key)
        bucket.tokens = min(limits.per_minute, bucket.tokens + 1)


def headers_of(limits: Limits, bucket: Bucket) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit`."""
    full_in_s = math.ceil((limits.per_minute - bucket.tokens) * WINDOW_S / limits.per_minute)
    return {
        "RateLimit-Policy": f'"key";q={limits.per_minute};w={WINDOW_S}',
        "RateLimit": f'"key";r={int(bucket.tokens)};t={full_in_s}',
    }


def _filled(limits: Limits, key: str) -> Bucket:
    now_s = limits.clock()
    bucket = limits.buckets.setdefault(key, Bucket(limits.per_minute, now_s))
    limits.buckets.move_to_end(key)
    if len(limits.buckets) > MOST_BUCKETS:
        limits.buckets.popitem(last=False)
    gained = (now_s - bucket.filled_at_s) * limits.per_minute / WINDOW_S
    bucket.tokens = min(limits.per_minute, bucket.tokens + gained)
    bucket.filled_at_s = now_s
    return bucket
