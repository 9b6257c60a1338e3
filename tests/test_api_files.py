"""Files are kept here, whatever Soniox says, and nothing half stays."""

import asyncio
import json
import os
import resource
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlmodel import Session, select

from service.ids import new_uuid
from service.sandbox.state import SandboxConfig
from service.services.maintenance import MAX_UPLOAD_MS, remove_incomplete_uploads
from service.store import files
from service.tables import File, FileChunk, table_of
from tests.support.relay_app import ADMIN_KEY, MODEL, RelayApp, open_relay_app
from tests.support.rows import all_of
from tests.test_api_submission import rows_of

MEBIBYTE = 2**20


async def upload(
    relay_app: RelayApp, audio: bytes = b"audio", name: str = "a.wav", **fields: str
) -> httpx.Response:
    return await relay_app.client.post("/v1/files", files={"file": (name, audio)}, data=fields)


async def stored(relay_app: RelayApp, file_id: str) -> bytes:
    chunks = table_of(FileChunk)
    query = select(chunks.c.data).where(chunks.c.file_id == file_id).order_by(chunks.c.position)
    return b"".join(await relay_app.relay.db.read(lambda session: session.exec(query).all()))


async def chunk_sizes(relay_app: RelayApp) -> list[int]:
    return [len(chunk.data) for chunk in await all_of(relay_app.relay.db, FileChunk)]


async def test_a_file_is_kept_byte_for_byte_in_small_pieces(relay_app: RelayApp) -> None:
    audio = os.urandom(3 * MEBIBYTE + 17)
    answer = await upload(relay_app, audio, "talk.wav", client_reference_id="ref")
    assert answer.status_code == 201
    file = answer.json()
    assert answer.headers["location"] == f"/v1/files/{file['id']}"
    assert (file["filename"], file["size"], file["client_reference_id"]) == ("talk.wav", len(audio), "ref")
    assert await stored(relay_app, file["id"]) == audio
    assert max(await chunk_sizes(relay_app)) == MEBIBYTE
    assert (await relay_app.client.get(f"/v1/files/{file['id']}")).json() == file


async def test_an_upload_is_taken_while_soniox_is_full_and_down_and_used_when_it_is_back(
    database_url: str,
) -> None:
    full = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None)
    async with open_relay_app(database_url, full) as relay_app:
        await relay_app.faults(refuse=[{"status": 503}])
        file = (await upload(relay_app)).json()
        answer = await relay_app.client.post(
            "/v1/transcriptions", json={"model": MODEL, "file_id": file["id"].upper()}
        )
        assert answer.status_code == 201
        assert answer.json()["filename"] == "a.wav"
        assert (await relay_app.at_soniox())["counts"]["files"] == 0
        await relay_app.faults()
        assert (await relay_app.finished(answer.json()["id"], within_s=40))["status"] == "completed"
        await relay_app.until_soniox_is_empty()
        assert (await relay_app.client.get(f"/v1/files/{file['id']}")).status_code == 200


async def test_deleting_a_file_that_a_waiting_job_needs_makes_that_job_fail(relay_app: RelayApp) -> None:
    await relay_app.faults(refuse=[{"status": 503}])
    file = (await upload(relay_app)).json()
    job = (await relay_app.client.post("/v1/transcriptions", json={"model": MODEL, "file_id": file["id"]})).json()
    assert (await relay_app.client.delete(f"/v1/files/{file['id']}")).status_code == 204
    assert await rows_of(relay_app, FileChunk) == 0
    await relay_app.faults()
    failed = await relay_app.finished(job["id"], within_s=40)
    assert (failed["status"], failed["error_type"]) == ("error", "file_not_found")


async def test_a_file_that_is_deleted_while_it_goes_to_soniox_makes_the_job_fail_soon(relay_app: RelayApp) -> None:
    await relay_app.faults(slow=[{"ms": 400, "match": "POST /v1/files"}])
    file = (await upload(relay_app, bytes(24 * MEBIBYTE))).json()
    job = (await relay_app.client.post("/v1/transcriptions", json={"model": MODEL, "file_id": file["id"]})).json()

    async def is_under_way() -> bool:
        return bool((await relay_app.at_soniox())["calls"].get("POST /v1/files", 0) > 0)

    await relay_app.until(is_under_way)
    assert (await relay_app.client.delete(f"/v1/files/{file['id']}")).status_code == 204
    failed = await relay_app.finished(job["id"], within_s=40)
    assert (failed["status"], failed["error_type"]) == ("error", "file_not_found")


async def test_a_file_of_a_submission_is_no_file_of_its_own(relay_app: RelayApp) -> None:
    await relay_app.faults(refuse=[{"status": 503}])
    parts: dict[str, Any] = {"file": ("a.wav", b"audio"), "request": (None, json.dumps({"model": MODEL}))}
    job = (await relay_app.client.post("/v1/transcriptions", files=parts)).json()
    listed = (await relay_app.client.get("/v1/files")).json()
    assert listed == {"files": [], "next_page_cursor": None}
    assert (await relay_app.client.get("/v1/files/count")).json()["total"] == 0
    assert (await relay_app.client.delete(f"/v1/files/{job['file_id']}")).status_code == 404
    await relay_app.client.delete(f"/v1/transcriptions/{job['id']}")
    assert (await rows_of(relay_app, File), await rows_of(relay_app, FileChunk)) == (0, 0)


async def test_a_client_that_hangs_up_half_way_leaves_nothing(relay_app: RelayApp) -> None:
    for path in ("/v1/files", "/v1/transcriptions"):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay_app.server.port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        )
        writer.write(head.encode() + os.urandom(2 * MEBIBYTE))
        await writer.drain()

        async def has_begun() -> bool:
            return await rows_of(relay_app, FileChunk) > 0

        await relay_app.until(has_begun)
        assert (await relay_app.client.get("/v1/files/count")).json()["total"] == 0
        writer.transport.abort()

        async def is_clean() -> bool:
            return (await rows_of(relay_app, File), await rows_of(relay_app, FileChunk)) == (0, 0)

        await relay_app.until(is_clean)
        del reader
    assert (await relay_app.at_soniox())["counts"]["files"] == 0


async def test_what_a_killed_process_left_is_swept_and_nothing_else(relay_app: RelayApp) -> None:
    kept = (await upload(relay_app)).json()["id"]
    now_ms = relay_app.relay.clock()
    rows = [
        File(id=new_uuid(at_ms), owner="bootstrap", filename="a", size=1, created_at_ms=at_ms)
        for at_ms in (now_ms - MAX_UPLOAD_MS - 1000, now_ms)
    ]
    for row in rows:
        chunk = FileChunk(file_id=row.id, position=0, data=b"x")

        def begin(session: Session, row: File = row, chunk: FileChunk = chunk) -> None:
            files.begin(session, row)
            files.add_chunk(session, chunk)

        await relay_app.relay.db.write(begin)
    await remove_incomplete_uploads(relay_app.relay)
    assert await stored(relay_app, kept) == b"audio"
    assert await stored(relay_app, rows[0].id) == b""
    assert await stored(relay_app, rows[1].id) == b"x"


async def test_an_upload_over_the_limit_is_refused_as_soniox_does_and_leaves_nothing(database_url: str) -> None:
    async with open_relay_app(database_url, relay_max_upload_bytes=2 * MEBIBYTE) as relay_app:
        assert (await upload(relay_app, b"x" * 2 * MEBIBYTE)).status_code == 201
        for size in (2 * MEBIBYTE + 1, 4 * MEBIBYTE):
            answer = await upload(relay_app, b"x" * size)
            assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")
            assert answer.json()["validation_errors"][0]["location"] == "file.file"
        assert await rows_of(relay_app, FileChunk) == 2


@pytest.mark.parametrize("way", ["no_file", "two_files", "long_reference", "many_parts", "no_form"])
async def test_a_wrong_form_is_refused_and_leaves_nothing(relay_app: RelayApp, way: str) -> None:
    file = ("file", ("a.wav", b"audio"))
    forms: dict[str, list[tuple[str, tuple[str | None, bytes]]]] = {
        "no_file": [("client_reference_id", (None, b"x"))],
        "two_files": [file, file],
        "long_reference": [file, ("client_reference_id", (None, b"x" * 257))],
        "many_parts": [file] + [(f"part{number}", (None, b"x")) for number in range(30)],
        "no_form": [],
    }
    answer = await relay_app.client.post("/v1/files", files=forms[way] or None, json=None if forms[way] else {})
    assert answer.status_code == (415 if way == "no_form" else 400)
    assert answer.json()["message"]
    assert (await rows_of(relay_app, File), await rows_of(relay_app, FileChunk)) == (0, 0)


async def test_names_that_could_do_harm_are_cleaned(relay_app: RelayApp) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x00\x1b[31m' + "ü".encode() * 400 + b'"'
        b"\r\n\r\naudio\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await relay_app.client.post("/v1/files", content=body, headers=kind)
    assert answer.status_code == 201
    name = answer.json()["filename"]
    assert name.startswith("a[31mü")
    assert len(name) == 255


async def test_memory_does_not_grow_with_the_file(relay_app: RelayApp) -> None:
    async def form(size: int) -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(size // MEBIBYTE):
            yield bytes(MEBIBYTE)
        yield b"\r\n--b--\r\n"

    async def send(size: int) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await relay_app.client.post("/v1/files", content=form(size), headers=kind)
        assert answer.json()["size"] == size

    await send(32 * MEBIBYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await send(112 * MEBIBYTE)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 40 * 1024
