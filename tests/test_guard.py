"""Which addresses can be reached: judged by what sockets really did, over every spelling we can think of."""

import asyncio
import ipaddress
import itertools
import os
import platform
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.downstream.client import DeliveryClient
from service.downstream.messages import Message
from service.downstream.ssrf import AddressGuard, AddressRefusedError, literal_address
from tests.support.hostile import answer, hostile_server
from tests.support.nameserver import ask_it, name_server
from tests.support.waiting import until

MANY = int(os.environ.get("GUARD_CORPUS", "120000"))  # of the long form
SAMPLE = 600

PRIVATE_V4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "169.254.169.254/32", "100.100.100.200/32"),
    *("168.63.129.16/32", "192.0.0.192/32", "169.254.170.2/32", "255.255.255.255/32"),
)
PRIVATE_V6 = (
    *("::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001:db8::/32"),
    *("64:ff9b:1::/48", "5f00::/16", "3fff::/20", "2001::/32", "2001:20::/28", "2002::/16", "fd00:ec2::254/128"),
    *("4000::/3", "8000::/1", "::ffff:0:0:0/96", "::/96"),
)
PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e")

connects: list[str] = []  # every address a socket of this process was told to connect to, while watched
watching = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event == "socket.connect":
        connects.append(str(arguments[1][0]))


sys.addaudithook(_audit)


@contextmanager
def sockets_watched() -> Iterator[list[str]]:
    """The addresses that were connected to inside the block; not by asking the code under test."""
    global watching
    connects.clear()
    watching = True
    try:
        yield connects
    finally:
        watching = False


def spellings() -> Iterator[str]:
    """Private addresses in every spelling that some resolver or parser takes, without end."""
    chance = random.Random(20)
    v4 = [ipaddress.IPv4Network(text) for text in PRIVATE_V4]
    v6 = [ipaddress.IPv6Network(text) for text in PRIVATE_V6]
    while True:
        network = chance.choice(v4)
        address = network[chance.randrange(network.num_addresses)]
        yield from _of_v4(address, chance)
        wide = chance.choice(v6)
        yield from _of_v6(wide[chance.randrange(wide.num_addresses)], chance)


def _of_v4(address: ipaddress.IPv4Address, chance: random.Random) -> Iterator[str]:
    number, (a, b, c, d) = int(address), address.packed
    low = number & 0xFFFFFF
    yield str(address)
    yield f"{number}"
    yield f"0x{number:x}"
    yield f"0X{number:08X}"
    yield f"0{number:o}"
    yield f"{a}.{low}"
    yield f"0x{a:x}.{low}"
    yield f"{a}.{b}.{low & 0xFFFF}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield f"{a}.0x{b:02X}.0{c:o}.{d}"
    yield f"{address}."
    hidden = f"{number >> 16:x}:{number & 0xFFFF:x}"
    yield f"[::ffff:{address}]"
    yield f"[::ffff:{hidden}]"
    yield f"[0:0:0:0:0:FFFF:{hidden.upper()}]"
    yield f"[::{hidden}]"
    yield f"[64:ff9b::{hidden}]"
    yield f"[64:ff9b::{address}]"
    yield f"[64:ff9b:1::{hidden}]"
    yield f"[2002:{hidden}::{chance.randrange(65536):x}]"
    yield f"[2001:0:{hidden}:0:{chance.randrange(65536):x}:{hidden}]"
    yield f"[2001:0:101:101:0:0:{(number ^ 0xFFFFFFFF) >> 16:x}:{(number ^ 0xFFFFFFFF) & 0xFFFF:x}]"
    yield f"[2606:4700::5efe:{hidden}]"
    yield f"[2606:4700::200:5efe:{hidden}]"
    yield f"[::ffff:0:{hidden}]"


def _of_v6(address: ipaddress.IPv6Address, chance: random.Random) -> Iterator[str]:
    yield f"[{address}]"
    yield f"[{address.exploded}]"
    yield f"[{str(address).upper()}]"
    yield f"[{address}%25lo]"
    yield f"[{address}%{chance.randrange(9)}]"


@pytest.mark.parametrize("number", [15_000, pytest.param(MANY, marks=pytest.mark.long)])
def test_no_spelling_of_a_private_address_passes(number: int) -> None:
    guard, passed = AddressGuard(()), []
    for host in itertools.islice(spellings(), number):
        try:
            address = literal_address(host.rstrip("."))
            assert address is not None, host
            guard.vet(host, address)
            passed.append(host)
        except AddressRefusedError:
            pass
    assert passed == []


def test_no_url_with_a_private_address_is_accepted_for_an_endpoint() -> None:
    guard, passed = AddressGuard(()), []
    for host in itertools.islice(spellings(), SAMPLE * 10):
        url = f"http://{host}/events"
        try:
            httpx.URL(url)
        except httpx.InvalidURL:
            continue  # nothing to connect to
        try:
            guard.vet_url(url)
            passed.append(url)
        except AddressRefusedError:
            pass
    assert passed == []


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "a.localhost"])
def test_names_of_this_machine_are_refused_for_an_endpoint(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        AddressGuard(()).vet_url(f"http://{host}:8000/")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    AddressGuard(()).vet("example.com", address)


def test_a_url_with_a_public_address_or_a_name_passes_until_it_is_connected_to() -> None:
    for url in ("https://8.8.8.8/", "https://[2606:4700:4700::1111]/", "https://example.com/events"):
        AddressGuard(()).vet_url(url)


@pytest.mark.parametrize("allowed", ["10.1.2.3/8", "10.0.0.0/8", "[fd00::1]", "fd00::1"])
def test_a_network_is_allowed_however_it_is_written(allowed: str) -> None:
    guard = AddressGuard((allowed,))
    guard.vet("x", "10.9.9.9" if allowed.startswith("10.") else "fd00::1%eth0")
    with pytest.raises(AddressRefusedError, match=r"not public; RELAY_ALLOWED_DESTINATIONS can allow it$"):
        guard.vet("x", "fd00::2%eth0")


@given(st.ip_addresses())
def test_what_python_calls_private_never_passes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    try:
        AddressGuard(()).vet("x", str(address))
    except AddressRefusedError:
        return
    assert address.is_global
    assert not address.is_multicast


@pytest.mark.parametrize(
    ("host", "address"),
    [("[fe80::1%lo]", "fe80::1"), ("127.0.0.1%lo", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("a.example", None)],
)
def test_a_host_that_spells_an_address_is_read_without_its_interface(host: str, address: str | None) -> None:
    assert literal_address(host) == address


async def test_the_connector_connects_to_none_of_them() -> None:
    """Through the real client, each host in a URL; what sockets did is the judge."""
    chosen = random.Random(7)
    hosts = list(itertools.islice(spellings(), SAMPLE * 20))
    wide, dots = "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127\u30020\u30020\u30021"
    extra = ["localhost", "LOCALHOST", "localhost.", "ip6-localhost", wide, dots, "\u2460\u2461\u2466.0.0.1"]
    sender = DeliveryClient(AddressGuard(()), deadline_s=2)
    with sockets_watched() as touched:
        for host in [*extra, *chosen.sample(hosts, SAMPLE)]:
            outcome = await sender.post(Message(f"http://{host}:8/", {}, b"{}"))
            assert outcome.status_code is None, host
    await sender.close()
    assert touched == []


async def test_a_redirect_leads_nowhere() -> None:
    async with hostile_server({"go": answer(302, "Location: http://127.0.0.2/inside")}) as url:
        sender = DeliveryClient(AddressGuard(("127.0.0.1",)), deadline_s=2)
        with sockets_watched() as touched:
            outcome = await sender.post(Message(f"{url}/go", {}, b"{}"))
        await sender.close()
    assert outcome.status_code == 302
    assert touched == ["127.0.0.1"]


class Rebinding:
    """A name server that answers differently each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host != "rebinding.test":
            return self._real(host, port, *rest, **named)
        addresses = self._answers[self.asked % len(self._answers)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


async def test_a_name_that_changes_its_answer_reaches_only_what_was_vetted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """127.0.0.1 stands for the public server, 127.0.0.2 for the one inside."""
    names = Rebinding(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    async with hostile_server({"events": answer(200)}) as url:
        port = httpx.URL(url).port
        sender = DeliveryClient(AddressGuard(("127.0.0.1/32",)), deadline_s=2)
        with sockets_watched() as touched:
            outcomes = [
                await sender.post(Message(f"http://rebinding.test:{port}/events", {}, b"{}")) for _ in range(40)
            ]
        await sender.close()
    assert names.asked == 40  # every try is vetted anew
    assert set(touched) == {"127.0.0.1"}
    assert [outcome.delivered for outcome in outcomes] == [True, False, False, False] * 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc lets a program name its name servers")
async def test_a_name_server_that_changes_its_answer_gains_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the C library's resolver and a name server whose answers may not be kept."""
    resolve = socket.getaddrinfo
    with name_server(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "127.0.0.2"]) as names:

        def resolve_there(*question: Any, **named: Any) -> Any:
            ask_it(names.port)
            return resolve(*question, **named)

        monkeypatch.setattr(socket, "getaddrinfo", resolve_there)
        async with hostile_server({"events": answer(200)}) as url:
            sender = DeliveryClient(AddressGuard(("127.0.0.1/32",)), deadline_s=5)
            with sockets_watched() as touched:
                message = Message(f"http://rebinding.example:{httpx.URL(url).port}/events", {}, b"{}")
                outcomes = [await sender.post(message) for _ in range(12)]
            await sender.close()
    assert names.asked == 12
    assert [outcome.delivered for outcome in outcomes] == [True, False, False] * 4
    assert set(touched) == {"127.0.0.1"}


async def test_the_operator_can_allow_a_name_an_address_and_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Rebinding(["127.0.0.1"]))
    async with hostile_server({"events": answer(200)}) as url:
        port = httpx.URL(url).port
        for allowed, host, reached in (
            ("rebinding.test", "rebinding.test", True),
            ("Rebinding.Test.", "rebinding.test", True),
            ("127.0.0.0/8", "rebinding.test", True),
            ("127.0.0.1", "[::ffff:127.0.0.1]", True),
            ("10.0.0.0/8", "rebinding.test", False),
            ("other.test", "rebinding.test", False),
        ):
            sender = DeliveryClient(AddressGuard((allowed,)), deadline_s=2)
            outcome = await sender.post(Message(f"http://{host}:{port}/events", {}, b"{}"))
            await sender.close()
            assert outcome.delivered is reached, (allowed, host, outcome.error)


async def test_an_address_inside_another_is_not_excused_by_what_is_around_it() -> None:
    guard = AddressGuard(("2001::/16", "10.0.0.0/8"))
    guard.vet("x", "64:ff9b::a01:203")  # NAT64 to an allowed address
    for refused in ("64:ff9b::7f00:1", "::ffff:169.254.169.254", "2002:a01:203::1"):
        with pytest.raises(AddressRefusedError):
            guard.vet("x", refused)


async def test_a_silent_name_server_keeps_no_other_receiver_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    real, release = socket.getaddrinfo, asyncio.Event()
    asked: list[str] = []
    loop = asyncio.get_running_loop()

    def slow(host: Any, *rest: Any, **named: Any) -> Any:
        if host == "silent.test":
            asked.append(host)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return real("127.0.0.1" if str(host).endswith(".test") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with hostile_server({"events": answer(200)}) as url:
        port = httpx.URL(url).port
        sender = DeliveryClient(AddressGuard(("127.0.0.1",)), deadline_s=3)
        stuck = [
            asyncio.create_task(sender.post(Message(f"http://silent.test:{port}/events", {}, b"{}")))
            for _ in range(40)
        ]
        await until(lambda: len(asked) == len(stuck))
        outcome = await sender.post(Message(f"http://lively.test:{port}/events", {}, b"{}"))
        assert outcome.delivered
        assert not any(task.done() for task in stuck)
        release.set()
        await asyncio.gather(*stuck)
        await sender.close()
