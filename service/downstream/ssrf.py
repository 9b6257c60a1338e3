"""Protection against SSRF: deliveries go only to public addresses and to those the operator allows.

`http_client` checks the address while it connects, so a DNS name that changes its address does not bypass the
check. Addresses not known to be public are refused: of IPv6 only global unicast is allowed, and an IPv6 address
that embeds an IPv4 address (IPv4-mapped, NAT64, ISATAP) is checked as that one.
"""

import ipaddress
import socket
from collections.abc import Sequence

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registries, and the metadata addresses of Azure and Oracle.
REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
ISATAP = (0x00005EFE, 0x02005EFE)  # the third 32 bits of an address that ends with an IPv4 one
HINT = "RELAY_ALLOWED_DESTINATIONS"


class AddressRefusedError(OSError):
    """The relay may not connect to the address."""


class AddressGuard:
    """Checks hosts and addresses. `allowed` has host names, addresses and CIDR networks, as in the settings."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                self._hosts.add(_plain(entry))

    def vet(self, host: str, address: str) -> None:
        """Raise AddressRefusedError unless the relay may connect to `address`, to which `host` resolved."""
        if _plain(host) in self._hosts:
            return
        if not self._may_connect(ipaddress.ip_address(address)):
            raise AddressRefusedError(f"{host} is at an address that is not public; {HINT} can allow it")

    def vet_url(self, url: str) -> None:
        """Raise AddressRefusedError if the URL has a refused literal address, in any spelling, or localhost.

        Host names are checked at every connection.
        """
        host = _plain(httpx.URL(url).host)
        if host == "localhost" or host.endswith(".localhost"):
            self.vet(host, "127.0.0.1")
        elif (address := literal_address(host)) is not None:
            self.vet(host, address)

    def _may_connect(self, ip: Address) -> bool:
        if self._is_allowed(ip):
            return True
        inner = embedded_ipv4(ip)
        return self._may_connect(inner) if inner else is_public(ip)

    def _is_allowed(self, ip: Address) -> bool:
        return any(ip.version == network.version and ip in network for network in self._networks)


def is_public(ip: Address) -> bool:
    """Return whether the address is public."""
    in_use = ip.version == 4 or ip in GLOBAL_UNICAST
    return in_use and not any(ip.version == network.version and ip in network for network in REFUSED)


def embedded_ipv4(ip: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address embeds, or None."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return None
    is_isatap = ip in GLOBAL_UNICAST and (int(ip) >> 32) & 0xFFFFFFFF in ISATAP
    if ip.ipv4_mapped or ip in NAT64 or is_isatap:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def literal_address(host: str) -> str | None:
    """Return the address in `host`, even if it is `0x7f.1`, `017700000001` or `2130706433`. None for a name."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except (OSError, UnicodeError, ValueError):
        return None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
