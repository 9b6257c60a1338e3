"""The example proxies, run by the real programs in front of the relay: what passes, what does not."""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.cli.demo.servers import free_port
from tests.support.proxies import Front, Program, caddy, nginx, self_made
from tests.support.relay_app import ADMIN_KEY, RelayApp, open_relay_app


@asynccontextmanager
async def proxied(
    relay_app: RelayApp, command: list[str], url: str, verify: ssl.SSLContext | bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """The relay_app's relay behind a proxy, which runs until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=70, verify=verify) as client:
            await relay_app.until(lambda: answers(client, process))
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


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def program(request: pytest.FixtureRequest) -> Program:
    """Each proxy that is installed."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed; `make deploy-check` installs it")
    found: Program = request.param
    return found


async def test_a_proxied_relay_does_its_job_and_the_proxy_keeps_out_what_is_too_large(
    sqlite_url: str, tmp_path: Path, program: Program
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        open_relay_app(sqlite_url, public_base_url=url) as relay_app,
        proxied(relay_app, program(Front(tmp_path, port, relay_app.server.port)), url) as client,
    ):
        relay_app.client = client
        await the_job_is_done_and_told(relay_app)
        await uploads_pass_and_other_large_bodies_do_not(relay_app, program)


@pytest.mark.long
async def test_the_examples_speak_tls_as_they_stand(sqlite_url: str, tmp_path: Path, program: Program) -> None:
    """With a certificate in the place of theirs; HTTP/2 is offered and taken."""
    front = Front(tmp_path, free_port(), 0, self_made(tmp_path))
    trusting = ssl.create_default_context(cafile=tmp_path / "fullchain.pem")
    async with open_relay_app(sqlite_url) as relay_app:
        command = program(front._replace(relay_port=relay_app.server.port))
        await says_it_is_well(command)
        async with proxied(relay_app, command, f"https://127.0.0.1:{front.port}", verify=trusting) as client:
            assert (await client.get("/v1/models")).status_code == 200
            trusting.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=trusting)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            writer.close()


async def says_it_is_well(command: list[str]) -> None:
    """`nginx -t`, `caddy validate`: no error, no warning."""
    checked = [*command, "-t"] if command[0] == "nginx" else ["caddy", "validate", *command[2:]]
    asked = await asyncio.create_subprocess_exec(*checked, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(asked.communicate(), 20)
    assert asked.returncode == 0, said
    assert not re.search(rb"\[(warn|error|emerg)\]|\"level\":\"error\"", said), said


@pytest.mark.long
async def test_an_upload_beyond_the_proxys_cap_is_refused_and_nothing_of_it_is_kept(
    sqlite_url: str, tmp_path: Path, program: Program
) -> None:
    port = free_port()
    smaller, expected = {
        "nginx": (("1025m;", "1m;"), (413, 413)),
        "caddy": (("1025MiB", "1MiB"), (502, 413)),
    }[program.__name__]
    async with open_relay_app(sqlite_url) as relay_app:
        command = program(Front(tmp_path, port, relay_app.server.port), smaller)
        async with proxied(relay_app, command, f"http://127.0.0.1:{port}") as client:
            announced = await client.post("/v1/files", files={"file": ("a.wav", b"audio" * 600_000)})
            chunked = await client.post("/v1/files", content=in_pieces(3_000_000), headers=FORM)
            assert (announced.status_code, chunked.status_code) == expected
            assert (await client.get("/v1/files/count")).json()["total"] == 0


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    """A form whose length is not said before."""
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for _ in range(size // 10_000):
        yield b"audio" * 2_000
    yield b"\r\n--x--\r\n"


@pytest.mark.long
async def test_what_the_relay_itself_finds_too_large_is_answered_in_its_words(
    sqlite_url: str, tmp_path: Path, program: Program
) -> None:
    port = free_port()
    async with open_relay_app(sqlite_url, relay_max_upload_bytes=1_000_000) as relay_app:
        command = program(Front(tmp_path, port, relay_app.server.port))
        async with proxied(relay_app, command, f"http://127.0.0.1:{port}") as client:
            answer = await client.post("/v1/files", content=in_pieces(1_500_000), headers=FORM)
            assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")


async def the_job_is_done_and_told(relay_app: RelayApp) -> None:
    """Upload, webhook through the proxy, transcript; the event arrives while the stream stays open."""
    async with relay_app.client.stream("GET", "/v1/events/stream") as stream:
        assert stream.status_code == 200
        audio: dict[str, Any] = {
            "file": ("tokens=9.wav", b"audio" * 600_000),
            "request": (None, '{"model": "stt-async-v5"}'),
        }
        created = await relay_app.client.post("/v1/transcriptions", files=audio)
        assert created.status_code == 201, created.text
        job = await relay_app.finished(created.json()["id"])
        assert "webhook" in {entry["source"] for entry in job["timeline"]}
        async with asyncio.timeout(20):
            async for line in stream.aiter_lines():
                if line.startswith("data:") and job["id"] in line:
                    break
    transcript = await relay_app.client.get(f"/v1/transcriptions/{job['id']}/transcript")
    assert len(transcript.json()["tokens"]) == 9


async def uploads_pass_and_other_large_bodies_do_not(relay_app: RelayApp, program: Program) -> None:
    """Behind nginx the relay never sees what is too large: what it would answer bears its own request id.

    Caddy hands on what it has before it counts on, so that now and then the relay's own cap answers first.
    """
    for path, size in (("/webhooks/soniox?job=x", 17_000), ("/v1/endpoints", 1_100_000)):
        answer = await relay_app.client.post(path, content=b"x" * size)
        assert answer.status_code in {413, 502}, (path, answer.status_code, answer.text)  # 502: Caddy 2.6
        assert program.__name__ == "caddy" or "x-request-id" not in answer.headers
    whole = await relay_app.client.post("/v1/files", files={"file": ("a.wav", b"audio" * 600_000)})
    assert whole.status_code == 201
    assert whole.json()["size"] == 3_000_000
