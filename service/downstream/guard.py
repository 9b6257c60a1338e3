"""Which addresses the relay may connect to: public ones, and those that the operator allowed.

`http.new_client` asks the guard while it connects, so the address that was vetted is the one connected to and
a name that changes its answer gains nothing. Addresses that carry another inside (IPv4-mapped, NAT64,
6to4, Teredo) are judged by both.
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20"),
        *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96"),
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """The destination's address is not one the relay may connect to."""


class Guard:
    """Vets hosts and addresses. `allowed` are host names, addresses and CIDRs, as in the settings."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry.lower().rstrip("."))

    def vet(self, host: str, address: str) -> None:
        """Raise Refused unless `address`, to which `host` resolved, may be connected to."""
        if host.lower().rstrip(".") in self._hosts:
            return
        ip = ipaddress.ip_address(address.split("%", 1)[0])
        forms = [ip, *carried_by(ip)]
        if any(self._is_allowed(form) for form in forms):
            return
        if any(_is_refused(form) for form in forms):
            raise Refused(f"{host} resolves to an address that is not public; see RELAY_ALLOWED_DESTINATIONS")

    def _is_allowed(self, ip: Address) -> bool:
        return any(ip.version == network.version and ip in network for network in self._networks)


def carried_by(ip: Address) -> list[Address]:
    """The IPv4 addresses hidden inside an IPv6 one."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return []
    hidden: list[Address | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in NAT64:
        hidden.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in hidden if address is not None]


def _is_refused(ip: Address) -> bool:
    return any(ip.version == network.version and ip in network for network in REFUSED)
