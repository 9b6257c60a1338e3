"""Lists of transcriptions: filters, order, and pages that hold still while rows come and go."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from sqlmodel import Session

from service.api import waiting
from service.ids import new_uuid
from service.lifecycle import SonioxStatus, Stage, soniox_status
from service.store import transcription_queries
from service.store.statements import insert_all
from service.tables import Transcription
from tests.support.relay_app import RelayApp

BEGIN_MS = 1_700_000_000_000
STANDS: list[tuple[Stage, str | None]] = [
    (Stage.ACCEPTED, None),
    (Stage.SUBMITTING, None),
    (Stage.SUBMITTED, None),
    (Stage.SUBMITTED, "queued"),
    (Stage.SUBMITTED, "processing"),
    (Stage.SUBMITTED, "completed"),
    (Stage.COMPLETED, "completed"),
    (Stage.FAILED, "error"),
    (Stage.FAILED, None),
]


def row(number: int, stage: Stage = Stage.COMPLETED, seen: str | None = None, **values: Any) -> Transcription:
    """A transcription that no worker touches; ten of them share each moment."""
    at_ms = BEGIN_MS + number // 10
    fields = {"owner": "bootstrap", "model": "stt-async-v5", "filename": "a.wav", **values}
    return Transcription(id=new_uuid(at_ms), created_at_ms=at_ms, stage=stage, soniox_status=seen, **fields)


async def put(relay_app: RelayApp, *rows: Transcription) -> list[str]:
    await relay_app.relay.db.write(lambda session: insert_all(session, rows))
    return [one.id for one in rows]


async def ids_of(relay_app: RelayApp, **params: Any) -> list[str]:
    """All ids of a list, read page by page."""
    found: list[str] = []
    cursor = ""
    while True:
        answer = await relay_app.client.get("/v1/transcriptions", params={**params, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [job["id"] for job in page["transcriptions"]]
        cursor = page["next_page_cursor"]
        if cursor is None:
            return found


async def count_of(relay_app: RelayApp, **params: Any) -> int:
    return int((await relay_app.client.get("/v1/transcriptions/count", params=params)).json()["total"])


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_neither_repeat_nor_skip_while_rows_come_and_go(relay_app: RelayApp, order: str) -> None:
    rows = [row(number) for number in range(57)]
    await put(relay_app, *rows)
    at_first = await relay_app.client.get("/v1/transcriptions", params={"limit": 10, "order": order})
    page = at_first.json()
    seen = [job["id"] for job in page["transcriptions"]]
    in_order = sorted((one.created_at_ms, one.id) for one in rows)
    expected = [one_id for _, one_id in (in_order if order == "asc" else reversed(in_order))]
    gone = {seen[-1], seen[0], expected[20], expected[56]}
    for one_id in gone:
        assert (await relay_app.client.delete(f"/v1/transcriptions/{one_id}")).status_code == 204
    await put(relay_app, row(-20), row(900))
    params: dict[str, Any] = {"limit": 7, "order": order}
    while page["next_page_cursor"]:
        params["cursor"] = page["next_page_cursor"]
        page = (await relay_app.client.get("/v1/transcriptions", params=params)).json()
        seen += [job["id"] for job in page["transcriptions"]]
    assert len(seen) == len(set(seen))
    of_before = [one_id for one_id in seen if one_id in expected]
    assert of_before == [one_id for one_id in expected if one_id not in gone - {*seen[:10]}]


async def test_newest_comes_first_unless_asked_otherwise(relay_app: RelayApp) -> None:
    ids = await put(relay_app, row(0), row(10), row(20))
    assert await ids_of(relay_app) == await ids_of(relay_app, order="desc") == ids[::-1]
    assert await ids_of(relay_app, order="asc", limit=1) == ids


async def test_every_status_and_stage_can_be_asked_for(relay_app: RelayApp) -> None:
    rows = [row(10 * number, stage, seen) for number, (stage, seen) in enumerate(STANDS)]
    await put(relay_app, *rows)
    statuses: list[SonioxStatus] = ["queued", "processing", "completed", "error"]
    for status in statuses:
        expected = [one.id for one in rows if soniox_status(Stage(one.stage), one.soniox_status) == status]
        assert await ids_of(relay_app, status=status, order="asc") == expected
        assert await count_of(relay_app, status=status) == len(expected) > 0
    for stage in Stage:
        expected = [one.id for one in rows if one.stage == stage]
        assert await ids_of(relay_app, stage=str(stage), order="asc") == expected
        assert await count_of(relay_app, stage=str(stage)) == len(expected)
    assert await count_of(relay_app, status=["queued", "error"]) == 6
    assert await count_of(relay_app, status="queued", stage="submitted") == 2


async def test_reference_and_moments_narrow_a_list(relay_app: RelayApp) -> None:
    ids = await put(relay_app, row(0), row(1000, client_reference_id="a"), row(2000, client_reference_id="b"))
    assert await ids_of(relay_app, client_reference_id="a") == [ids[1]]
    second = "2023-11-14T22:13:20.100Z"
    assert await ids_of(relay_app, created_after=second) == [ids[2]]
    assert await ids_of(relay_app, created_before=second) == [ids[0]]
    assert await ids_of(relay_app, created_after="2023-11-14T23:13:20.050+01:00", created_before="2024-01-01") == [
        ids[2],
        ids[1],
    ]
    assert await count_of(relay_app, created_after=second) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "many"),
        ("order", "random"),
        ("status", "done"),
        ("stage", "queued"),
        ("created_after", "yesterday"),
        ("created_before", ""),
        ("client_reference_id", "x" * 257),
        ("client_reference_id", "\0"),
    ],
)
async def test_a_wrong_filter_is_refused_with_its_location(relay_app: RelayApp, name: str, value: str) -> None:
    answer = await relay_app.client.get("/v1/transcriptions", params={name: value})
    assert answer.status_code == 400
    body = answer.json()
    assert body["error_type"] == "invalid_request"
    assert body["validation_errors"][0]["location"].startswith(f"query.{name}")


@pytest.mark.parametrize("cursor", ["nonsense", "%00", "MTIz", "LTE6eA", "é", "OTk5OTk5OTk5OTk5OTk5OTk5OTk6eA"])
async def test_a_cursor_from_elsewhere_is_refused(relay_app: RelayApp, cursor: str) -> None:
    for path in ("/v1/transcriptions", "/v1/files"):
        answer = await relay_app.client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_cursor")


async def test_many_waiting_requests_are_answered_when_the_transcription_ends(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_EVERY_S", 60)  # only the commit that ends it can wake them
    job = await relay_app.submit(client_reference_id="processing_ms=400")
    many = [relay_app.client.get(f"/v1/transcriptions/{job['id']}", params={"wait": 30}) for _ in range(40)]
    answers = await asyncio.wait_for(asyncio.gather(*many), 30)
    assert {answer.json()["status"] for answer in answers} == {"completed"}


async def test_a_waiting_request_hears_of_the_end_without_a_ring_too(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUEUE", "never rung by anybody")  # as if another process had ended it
    job = await relay_app.submit(client_reference_id="processing_ms=400")
    answer = await relay_app.client.get(f"/v1/transcriptions/{job['id']}", params={"wait": 10})
    assert answer.json()["status"] == "completed"


async def test_a_waiting_request_ends_with_its_time_or_with_the_transcription(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_EVERY_S", 60)
    job = await relay_app.submit(client_reference_id="processing_ms=60000")
    path = f"/v1/transcriptions/{job['id']}"
    answer = await relay_app.client.get(path, params={"wait": 0.2})
    assert answer.json()["status"] in {"queued", "processing"}
    waits = asyncio.Event()
    wait_for = waiting.CompletionWaiter.wait_for

    async def noted(endings: waiting.CompletionWaiter, transcription_id: str, longest_s: float) -> None:
        waits.set()
        await wait_for(endings, transcription_id, longest_s)

    monkeypatch.setattr(waiting.CompletionWaiter, "wait_for", noted)
    waiting_one = asyncio.create_task(relay_app.client.get(path, params={"wait": 30}))
    await asyncio.wait_for(waits.wait(), 30)
    await relay_app.client.delete(path)
    assert (await asyncio.wait_for(waiting_one, 30)).status_code == 404


async def test_a_waiting_request_costs_one_query_however_many_wait(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    still_open = transcription_queries.still_open

    def count_looks(session: Session, ids: Collection[str]) -> set[str]:
        nonlocal looks
        looks += 1
        return still_open(session, ids)

    monkeypatch.setattr(transcription_queries, "still_open", count_looks)
    monkeypatch.setattr(waiting, "POLL_EVERY_S", 0.3)
    job = await relay_app.submit(client_reference_id="processing_ms=60000")
    many = [relay_app.client.get(f"/v1/transcriptions/{job['id']}", params={"wait": 1.5}) for _ in range(50)]
    answers = await asyncio.gather(*many)
    assert {answer.json()["stage"] for answer in answers} == {"submitted"}
    assert 2 <= looks < 40


async def test_what_has_not_changed_is_not_sent_again(relay_app: RelayApp) -> None:
    [job_id] = await put(relay_app, row(0))
    for path in (f"/v1/transcriptions/{job_id}", "/v1/models"):
        first = await relay_app.client.get(path)
        again = await relay_app.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await relay_app.client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
