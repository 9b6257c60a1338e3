"""What slow clients meet at the relay and at the example proxies: `python -m bench.slow_at_proxies`.

Each kind of slow client connects to the relay itself, to nginx and to Caddy in front of it (those that are
installed), all at the same time. Prints after how many seconds it was answered, and with what, or cut off.
"""

import argparse
import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bench.served import API_KEY, MASTER_SECRET, relay, running
from service.cli.demo.servers import free_port
from service.crypto import SecretBox
from tests.support.proxies import Front, Program, caddy, nginx

PROXIES: dict[str, Program] = {"nginx": nginx, "caddy": caddy}
JOB = "0197a1b2-0000-7000-8000-000000000001"
SECRET = SecretBox([MASTER_SECRET.encode()]).webhook_secret(JOB)
HOST = "HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
WEBHOOK = f"POST /webhooks/soniox?job={JOB} {HOST}X-Soniox-Webhook-Secret: {SECRET}\r\n"
KEY = f"Authorization: Bearer {API_KEY}\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
PART = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\naudio'
# What is sent at once, and the byte that follows each second.
CLIENTS = {
    "a head without an end": (f"GET /livez {HOST}X-Slow: ", "x"),
    "a webhook's body that stops": (f"{WEBHOOK}Content-Length: 80\r\n\r\n{{", ""),
    "a webhook's body, a byte a second": (f"{WEBHOOK}Content-Length: 16000\r\n\r\n{{", " "),
    "a body of the API that stops": (f"POST /v1/endpoints {HOST}{KEY}Content-Length: 80\r\n\r\n{{", ""),
    "a body of the API, a byte a second": (f"POST /v1/endpoints {HOST}{KEY}Content-Length: 9000\r\n\r\n{{", " "),
    "an upload that stops": (f"POST /v1/files {HOST}{KEY}{FORM}Content-Length: 80000\r\n\r\n{PART}", ""),
    "an upload, a byte a second": (f"POST /v1/files {HOST}{KEY}{FORM}Content-Length: 80000\r\n\r\n{PART}", "x"),
    "an answer that nobody reads": ((f"GET /docs/assets/swagger-ui-bundle.js {HOST}\r\n") * 20, ""),
    "a connection without a request": ("", ""),
}


@contextlib.contextmanager
def fronts() -> Iterator[dict[str, int]]:
    """The port of the relay and of each proxy."""
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as programs:
        Path(home).chmod(0o755)  # nginx's workers are another user
        relay_port, _ = programs.enter_context(relay(f"sqlite:///{home}/relay.db", "--no-worker"))
        ports = {"relay": relay_port}
        for name, program in PROXIES.items():
            if shutil.which(name):
                folder = Path(home) / name
                folder.mkdir()
                ports[name] = free_port()
                command = program(Front(folder, ports[name], relay_port))
                programs.enter_context(running(command, {}, ports[name], log=subprocess.DEVNULL))
        yield ports


async def suffers(port: int, beginning: str, drop: str, longest_s: float) -> str:
    """What becomes of one such client."""
    loop = asyncio.get_running_loop()
    reader, writer = await _connect(port)
    begun = loop.time()
    with contextlib.suppress(ConnectionError):
        writer.write(beginning.replace("{port}", str(port)).encode())
    answer = b""
    reads_nothing = beginning.count("GET /docs") > 1
    while loop.time() - begun < longest_s:
        await asyncio.sleep(0 if not drop else 1)
        if reads_nothing:
            await asyncio.sleep(1)
            if _is_cut_off(writer):
                return f"cut off after {loop.time() - begun:.0f} s"
            continue
        with contextlib.suppress(ConnectionError):
            writer.write(drop.encode())
        try:
            answer += await asyncio.wait_for(reader.read(4096), 0.05 if drop else 1)
        except TimeoutError:
            continue
        except ConnectionError:
            pass
        said = answer.split(b"\r\n")[0].decode()[9:12] or "closed"
        writer.close()
        return f"{said} after {loop.time() - begun:.0f} s"
    writer.close()
    return f"still there after {longest_s:.0f} s"


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """With a small window, so that an unread answer stays with its sender."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    return await asyncio.open_connection(sock=connection, limit=4096)


def _is_cut_off(writer: asyncio.StreamWriter) -> bool:
    """Reset or closed by the other side, seen without reading: TCP_INFO begins with the state."""
    states: bytes = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return states[0] != 1  # TCP_ESTABLISHED


async def measure(ports: dict[str, int], longest_s: float) -> AsyncIterator[tuple[str, list[str]]]:
    """All at once; the rows in order."""
    clients = {
        name: [asyncio.create_task(suffers(port, *client, longest_s)) for port in ports.values()]
        for name, client in CLIENTS.items()
    }
    for name, tasks in clients.items():
        yield name, list(await asyncio.gather(*tasks))


async def show(ports: dict[str, int], longest_s: float) -> None:
    """A table."""
    print(f"| | {' | '.join(ports)} |\n|{'---|' * (len(ports) + 1)}", flush=True)
    async for name, fates in measure(ports, longest_s):
        print(f"| {name} | {' | '.join(fates)} |", flush=True)


def main() -> None:
    """Start everything and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150, help="Give up after so long.")
    arguments = parser.parse_args()
    with fronts() as ports:
        asyncio.run(show(ports, arguments.seconds))


if __name__ == "__main__":
    main()
