"""Files are kept here, whatever Soniox says, and nothing half stays."""

import asyncio
import json
import os
import resource
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_uuid
from service.purge import LONGEST_UPLOAD_MS, remove_cut_off_uploads
from service.sandbox import SandboxConfig
from service.store import files
from service.tables import File, FileChunk, table_of
from tests.support.house import ADMIN_KEY, MODEL, House, open_house
from tests.test_api_submission import rows_of

MEBIBYTE = 2**20


async def upload(house: House, audio: bytes = b"audio", name: str = "a.wav", **fields: str) -> httpx.Response:
    return await house.client.post("/v1/files", files={"file": (name, audio)}, data=fields)


async def stored(house: House, file_id: str) -> bytes:
    chunks = table_of(FileChunk)
    query = select(chunks.c.data).where(chunks.c.file_id == file_id).order_by(chunks.c.position)
    async with house.relay.db.read() as connection:
        return b"".join((await connection.execute(query)).scalars())


async def chunk_sizes(house: House) -> list[int]:
    chunks = table_of(FileChunk)
    async with house.relay.db.read() as connection:
        return list((await connection.execute(select(func.length(chunks.c.data)))).scalars())


async def test_a_file_is_kept_byte_for_byte_in_small_pieces(house: House) -> None:
    audio = os.urandom(3 * MEBIBYTE + 17)
    answer = await upload(house, audio, "talk.wav", client_reference_id="ref")
    assert answer.status_code == 201
    file = answer.json()
    assert answer.headers["location"] == f"/v1/files/{file['id']}"
    assert (file["filename"], file["size"], file["client_reference_id"]) == ("talk.wav", len(audio), "ref")
    assert await stored(house, file["id"]) == audio
    assert max(await chunk_sizes(house)) == MEBIBYTE
    assert (await house.client.get(f"/v1/files/{file['id']}")).json() == file


async def test_an_upload_is_taken_while_soniox_is_full_and_down_and_used_when_it_is_back(
    database_url: str,
) -> None:
    full = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None)
    async with open_house(database_url, full) as house:
        await house.faults(refuse=[{"status": 503}])
        file = (await upload(house)).json()
        answer = await house.client.post(
            "/v1/transcriptions", json={"model": MODEL, "file_id": file["id"].upper()}
        )
        assert answer.status_code == 201
        assert answer.json()["filename"] == "a.wav"
        assert (await house.at_soniox())["counts"]["files"] == 0
        await house.faults()
        assert (await house.finished(answer.json()["id"], within_s=40))["status"] == "completed"
        await house.until_soniox_is_empty()
        assert (await house.client.get(f"/v1/files/{file['id']}")).status_code == 200


async def test_deleting_a_file_that_a_waiting_job_needs_makes_that_job_fail(house: House) -> None:
    await house.faults(refuse=[{"status": 503}])
    file = (await upload(house)).json()
    job = (await house.client.post("/v1/transcriptions", json={"model": MODEL, "file_id": file["id"]})).json()
    assert (await house.client.delete(f"/v1/files/{file['id']}")).status_code == 204
    assert await rows_of(house, FileChunk) == 0
    await house.faults()
    failed = await house.finished(job["id"], within_s=40)
    assert (failed["status"], failed["error_type"]) == ("error", "file_not_found")


async def test_a_file_that_is_deleted_while_it_goes_to_soniox_makes_the_job_fail_soon(house: House) -> None:
    await house.faults(slow=[{"ms": 400, "match": "POST /v1/files"}])
    file = (await upload(house, bytes(40 * MEBIBYTE))).json()
    job = (await house.client.post("/v1/transcriptions", json={"model": MODEL, "file_id": file["id"]})).json()

    async def is_under_way() -> bool:
        return (await house.at_soniox())["calls"].get("POST /v1/files", 0) > 0

    await house.until(is_under_way)
    assert (await house.client.delete(f"/v1/files/{file['id']}")).status_code == 204
    failed = await house.finished(job["id"], within_s=40)
    assert (failed["status"], failed["error_type"]) == ("error", "file_not_found")


async def test_a_file_of_a_submission_is_no_file_of_its_own(house: House) -> None:
    await house.faults(refuse=[{"status": 503}])
    parts = {"file": ("a.wav", b"audio"), "request": (None, json.dumps({"model": MODEL}))}
    job = (await house.client.post("/v1/transcriptions", files=parts)).json()
    listed = (await house.client.get("/v1/files")).json()
    assert listed == {"files": [], "next_page_cursor": None}
    assert (await house.client.get("/v1/files/count")).json()["total"] == 0
    assert (await house.client.delete(f"/v1/files/{job['file_id']}")).status_code == 404
    await house.client.delete(f"/v1/transcriptions/{job['id']}")
    assert (await rows_of(house, File), await rows_of(house, FileChunk)) == (0, 0)


async def test_a_client_that_hangs_up_half_way_leaves_nothing(house: House) -> None:
    for path in ("/v1/files", "/v1/transcriptions"):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        )
        writer.write(head.encode() + os.urandom(2 * MEBIBYTE))
        await writer.drain()

        async def has_begun() -> bool:
            return await rows_of(house, FileChunk) > 0

        await house.until(has_begun)
        assert (await house.client.get("/v1/files/count")).json()["total"] == 0
        writer.transport.abort()

        async def is_clean() -> bool:
            return (await rows_of(house, File), await rows_of(house, FileChunk)) == (0, 0)

        await house.until(is_clean)
        del reader
    assert (await house.at_soniox())["counts"]["files"] == 0


async def test_what_a_killed_process_left_is_swept_and_nothing_else(house: House) -> None:
    kept = (await upload(house)).json()["id"]
    now_ms = house.relay.clock()
    rows = [
        File(id=new_uuid(at_ms), owner="bootstrap", filename="a", size=1, created_at_ms=at_ms)
        for at_ms in (now_ms - LONGEST_UPLOAD_MS - 1000, now_ms)
    ]
    for row in rows:
        chunk = FileChunk(file_id=row.id, position=0, data=b"x")

        async def begin(connection: AsyncConnection, row: File = row, chunk: FileChunk = chunk) -> None:
            await files.begin(connection, row)
            await files.add_chunk(connection, chunk)

        await house.relay.db.write(begin)
    await remove_cut_off_uploads(house.relay)
    assert await stored(house, kept) == b"audio"
    assert await stored(house, rows[0].id) == b""
    assert await stored(house, rows[1].id) == b"x"


async def test_an_upload_over_the_limit_is_refused_as_soniox_does_and_leaves_nothing(database_url: str) -> None:
    async with open_house(database_url, relay_max_upload_bytes=2 * MEBIBYTE) as house:
        assert (await upload(house, b"x" * 2 * MEBIBYTE)).status_code == 201
        for size in (2 * MEBIBYTE + 1, 4 * MEBIBYTE):
            answer = await upload(house, b"x" * size)
            assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")
            assert answer.json()["validation_errors"][0]["location"] == "file.file"
        assert await rows_of(house, FileChunk) == 2


@pytest.mark.parametrize("way", ["no_file", "two_files", "long_reference", "many_parts", "no_form"])
async def test_a_wrong_form_is_refused_and_leaves_nothing(house: House, way: str) -> None:
    file = ("file", ("a.wav", b"audio"))
    forms: dict[str, list[tuple[str, tuple[str | None, bytes]]]] = {
        "no_file": [("client_reference_id", (None, b"x"))],
        "two_files": [file, file],
        "long_reference": [file, ("client_reference_id", (None, b"x" * 257))],
        "many_parts": [file] + [(f"part{number}", (None, b"x")) for number in range(30)],
        "no_form": [],
    }
    answer = await house.client.post("/v1/files", files=forms[way] or None, json=None if forms[way] else {})
    assert answer.status_code == (415 if way == "no_form" else 400)
    assert answer.json()["message"]
    assert (await rows_of(house, File), await rows_of(house, FileChunk)) == (0, 0)


async def test_names_that_could_do_harm_are_cleaned(house: House) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x00\x1b[31m' + "ü".encode() * 400 + b'"'
        b"\r\n\r\naudio\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await house.client.post("/v1/files", content=body, headers=kind)
    assert answer.status_code == 201
    name = answer.json()["filename"]
    assert name.startswith("a[31mü")
    assert len(name) == 255


async def test_memory_does_not_grow_with_the_file(house: House) -> None:
    async def form(size: int) -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(size // MEBIBYTE):
            yield bytes(MEBIBYTE)
        yield b"\r\n--b--\r\n"

    async def send(size: int) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await house.client.post("/v1/files", content=form(size), headers=kind)
        assert answer.json()["size"] == size

    await send(32 * MEBIBYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await send(160 * MEBIBYTE)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 40 * 1024
