"""The example proxies, run by the real programs in front of the relay: what passes, what does not."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.cli.demo.household import free_port
from tests.support.house import ADMIN_KEY, House, open_house

PROXY = Path(__file__).resolve().parents[1] / "deploy" / "proxy"
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/relay.conf;
}}
"""


def nginx(folder: Path, port: int, relay_port: int) -> list[str]:
    """The command that runs the example on this port, without TLS."""
    example = changed(
        (PROXY / "nginx.conf").read_text("utf-8"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{port};"),
        ("    ssl_certificate /etc/ssl/relay/fullchain.pem;\n", ""),
        ("    ssl_certificate_key /etc/ssl/relay/privkey.pem;\n", ""),
        ("127.0.0.1:8000", f"127.0.0.1:{relay_port}"),
    )
    (folder / "relay.conf").write_text(example)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["nginx", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, relay_port: int) -> list[str]:
    """The same for Caddy."""
    example = changed(
        (PROXY / "Caddyfile").read_text("utf-8"),
        ("relay.example.com {", f"http://127.0.0.1:{port} {{"),
        ("{\n\tservers {", "{\n\tadmin off\n\tservers {"),
        ("127.0.0.1:8000", f"127.0.0.1:{relay_port}"),
    )
    (folder / "Caddyfile").write_text(example)
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def proxied(house: House, command: list[str], url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The house's relay behind a proxy, which runs until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=70) as client:
            await house.until(lambda: answers(client, process))
            yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, "the proxy did not start"
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("program", [nginx, caddy], ids=["nginx", "caddy"])
async def test_a_proxied_relay_does_its_job_and_the_proxy_keeps_out_what_is_too_large(
    sqlite_template: Path, tmp_path: Path, program: object
) -> None:
    assert callable(program)
    if shutil.which(program.__name__) is None:
        pytest.skip(f"{program.__name__} is not installed; `make deploy-check` installs it")
    shutil.copy(sqlite_template, tmp_path / "relay.db")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        open_house(f"sqlite:///{tmp_path / 'relay.db'}", public_base_url=url) as house,
        proxied(house, program(tmp_path, port, house.server.port), url) as client,
    ):
        house.client = client
        await the_job_is_done_and_told(house)
        await uploads_pass_and_other_large_bodies_do_not(house)


async def the_job_is_done_and_told(house: House) -> None:
    """Upload, webhook through the proxy, transcript; the event arrives while the stream stays open."""
    async with house.client.stream("GET", "/v1/events/stream") as stream:
        assert stream.status_code == 200
        audio = {"file": ("tokens=9.wav", b"audio" * 600_000), "request": (None, '{"model": "stt-async-v5"}')}
        created = await house.client.post("/v1/transcriptions", files=audio)
        assert created.status_code == 201, created.text
        job = await house.finished(created.json()["id"])
        assert "webhook" in {entry["source"] for entry in job["timeline"]}
        async with asyncio.timeout(20):
            async for line in stream.aiter_lines():
                if line.startswith("data:") and job["id"] in line:
                    break
    transcript = await house.client.get(f"/v1/transcriptions/{job['id']}/transcript")
    assert len(transcript.json()["tokens"]) == 9


async def uploads_pass_and_other_large_bodies_do_not(house: House) -> None:
    """The relay never sees what is too large: what it would answer bears its own request id."""
    for path, size in (("/webhooks/soniox?job=x", 17_000), ("/v1/endpoints", 1_100_000)):
        answer = await house.client.post(path, content=b"x" * size)
        assert answer.status_code in {413, 502}, (path, answer.status_code, answer.text)  # 502: Caddy 2.6
        assert "x-request-id" not in answer.headers
    whole = await house.client.post("/v1/files", files={"file": ("a.wav", b"audio" * 600_000)})
    assert whole.status_code == 201
    assert whole.json()["size"] == 3_000_000


async def answer_to_an_announced(size: int, port: int) -> bytes:
    """The first line that comes back when the head of an upload says that it will be this large."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
    head += f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {size}\r\n\r\n--x\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line
