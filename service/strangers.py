"""How often an address may come without a key that is known: after that it is refused without asking the database.

A key that was good before passes whatever others do from the same address, which may be a proxy's. Requests with
a new good key get their share back.
"""

import hashlib
import ipaddress
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from service.errors import TooManyRequests
from service.rate_limit import Limits, give_back, spend

MOST_KNOWN = 10_000  # keys
NETWORK_OF_IPV6 = 64  # bits: one customer has at least as many addresses


class Strangers:
    """What addresses have left, and which keys need nothing of it; `per_minute` 0 means no limit."""

    def __init__(self, per_minute: int) -> None:
        self._limits = Limits(per_minute)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    @contextmanager
    def visit(self, address: str, key: str) -> Iterator[None]:
        """Check a key inside this block. Raises TooManyRequests before it; what is raised inside counts."""
        digest = hashlib.sha256(key.encode()).digest()
        known = self._known.pop(digest, True) is None
        if not known and (wait_s := self.count(address)):
            text = f"this address may make {self._limits.per_minute} requests per minute without a valid key"
            raise TooManyRequests(text, retry_after_s=wait_s)
        yield
        self._known[digest] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        if not known:
            give_back(self._limits, address)

    def count(self, address: str) -> int:
        """Count one request of a stranger: the seconds to wait, 0 while there is something left."""
        return spend(self._limits, address)[1]


def address_of(scope: Mapping[str, Any]) -> str:
    """Where a request comes from; of IPv6 the network. uvicorn has put a trusted proxy's word in place already."""
    try:
        ip = ipaddress.ip_address((scope.get("client") or [""])[0])
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, NETWORK_OF_IPV6), strict=False)) if ip.version == 6 else str(ip)
