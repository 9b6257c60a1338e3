"""A name server on the loopback, and the way to make the system's own resolver ask it.

glibc keeps its list of name servers for each thread in `_res`; a program may write its own there. What is
resolved then goes through the real getaddrinfo, over UDP, to this server, with answers that may not be kept.
"""

import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

IPV4, IPV6 = 1, 28  # query types
COUNT, FIRST = 16, 20  # offsets in glibc's struct __res_state: nscount, nsaddr_list


class NameServer(threading.Thread):
    """Answers each question for an IPv4 address with the next of `answers`, and says that there is no IPv6."""

    def __init__(self, answers: list[list[str]]) -> None:
        super().__init__(daemon=True)
        self.asked = 0
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    @override
    def run(self) -> None:
        """Until an empty question comes."""
        with self._socket:
            while True:
                question, asker = self._socket.recvfrom(512)
                if not question:
                    return
                self._socket.sendto(self._answer(question), asker)

    def stop(self) -> None:
        """Wake the thread and let it end."""
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self.join()

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5  # the name, its type and class
        addresses: list[str] = []
        if struct.unpack("!H", question[end - 4 : end - 2])[0] == IPV4:
            addresses = self._answers[self.asked % len(self._answers)]
            self.asked += 1
        head = question[:2] + struct.pack("!HHHHH", 0x8580, 1, len(addresses), 0, 0)
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", IPV4, 1, 0, 4) + socket.inet_aton(address) for address in addresses
        ]
        return head + question[12:end] + b"".join(records)


@contextmanager
def name_server(*answers: list[str]) -> Iterator[NameServer]:
    """One that runs until the block ends."""
    server = NameServer(list(answers))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask_it(port: int) -> None:
    """From now on this thread resolves names there. Raises OSError where the C library is not glibc."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "gnu_get_libc_version") or libc["__res_init"]():
        raise OSError("no glibc")
    res_state = libc["__res_state"]
    res_state.restype = ctypes.c_void_p
    state: int = res_state()
    ctypes.c_int.from_address(state + COUNT).value = 1
    address = (
        struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
    )
    ctypes.memmove(state + FIRST, address, len(address))
