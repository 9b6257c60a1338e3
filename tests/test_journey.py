"""A transcription's way through the relay, once for each road it may take."""

import json

import pytest
from standardwebhooks import Webhook as Verifier
from starlette.responses import Response

from service.pipeline import submit
from service.sandbox.speech import recording_path, recording_text
from service.sandbox.state import SandboxConfig
from service.tables import Webhook
from tests.support.relay_app import MASTER_SECRET, MODEL, RelayApp, as_json, open_relay_app
from tests.support.rows import all_of


async def test_a_webhook_brings_the_result_and_every_receiver_hears_of_it(relay_app: RelayApp) -> None:
    endpoint = await relay_app.add_endpoint("/events")
    job = await relay_app.submit(
        webhook_url=f"{relay_app.receiver_url}/mine",
        webhook_auth_header_name="X-Mine",
        webhook_auth_header_value="abc",
    )
    assert job["status"] == "queued"

    done = await relay_app.finished(job["id"])
    assert done["status"] == "completed"
    assert done["audio_duration_ms"] > 0
    transcript = (await relay_app.client.get(f"/v1/transcriptions/{job['id']}/transcript")).json()
    assert transcript["id"] == job["id"]
    assert "".join(token["text"] for token in transcript["tokens"]) == transcript["text"]
    assert len(transcript["tokens"]) == 12

    await relay_app.until_received("/events")
    await relay_app.until_received("/mine")
    event = relay_app.receiver.at("/events")[0]
    verified = Verifier(endpoint["secret"]).verify(event.body, event.headers)
    assert verified["type"] == "transcription.completed"
    assert verified["data"]["id"] == job["id"]
    assert verified["data"]["transcript_url"].endswith(f"/v1/transcriptions/{job['id']}/transcript")
    mine = relay_app.receiver.at("/mine")[0]
    assert as_json(mine.body) == {"id": job["id"], "status": "completed"}
    assert mine.headers["x-mine"] == "abc"

    await relay_app.until_soniox_is_empty()
    assert len(await relay_app.created_at_soniox()) == 1


@pytest.mark.one_database  # recognising takes seconds and is the same whatever the database
async def test_a_file_in_the_same_call_is_really_recognised(database_url: str) -> None:
    async with open_relay_app(database_url, SandboxConfig(processing_ms=10)) as relay_app:
        with recording_path().open("rb") as recording:
            answer = await relay_app.client.post(
                "/v1/transcriptions",
                files={"file": ("hello.wav", recording), "request": (None, json.dumps({"model": MODEL}))},
            )
        assert answer.status_code == 201
        done = await relay_app.finished(answer.json()["id"], within_s=40)
        assert done["filename"] == "hello.wav"
        transcript = (await relay_app.client.get(f"/v1/transcriptions/{done['id']}/transcript")).json()
        assert transcript["text"] == recording_text()
        await relay_app.until_soniox_is_empty()


async def test_a_file_that_lies_at_soniox_already_is_used_and_left_there(relay_app: RelayApp) -> None:
    uploaded = await relay_app.soniox.post("/v1/files", files={"file": ("theirs.wav", b"audio")})
    answer = await relay_app.client.post(
        "/v1/transcriptions", json={"model": MODEL, "file_id": uploaded.json()["id"]}
    )
    done = await relay_app.finished(answer.json()["id"])
    assert done["status"] == "completed"
    assert (await relay_app.soniox.get(f"/v1/files/{uploaded.json()['id']}")).status_code == 200


async def test_a_lost_webhook_is_found_by_the_reconciler(database_url: str) -> None:
    async with open_relay_app(database_url, relay_reconcile_grace_s=0.2) as relay_app:
        await relay_app.faults(drop_webhook=True)
        job = await relay_app.submit()
        done = await relay_app.finished(job["id"])
        assert done["status"] == "completed"
        assert [entry["source"] for entry in done["timeline"] if entry["step"] == "completed"] == ["reconciler"]
        await relay_app.until_soniox_is_empty()


async def test_a_duplicated_webhook_changes_nothing(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/events")
    await relay_app.faults(duplicate_webhook=[{"times": 4}])
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    await relay_app.until_soniox_is_empty()
    await relay_app.until(lambda: has_been_told(relay_app, 5))
    assert len((await relay_app.client.get("/v1/events")).json()["events"]) == 1
    await relay_app.until_received("/events")
    assert len(relay_app.receiver.at("/events")) == 1
    assert len(await relay_app.created_at_soniox()) == 1


async def has_been_told(relay_app: RelayApp, times: int) -> bool:
    """The inbox has so many webhooks, duplicates included, and nothing in it waits any more."""
    rows = await all_of(relay_app.relay.db, Webhook)
    return all(row.due_at_ms is None for row in rows) and sum(row.receive_count for row in rows) == times


async def test_a_webhook_that_overtakes_the_answer_to_create_finds_its_job(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/events")
    await relay_app.faults(early_webhook=True)
    job = await relay_app.submit()
    done = await relay_app.finished(job["id"])
    assert done["status"] == "completed"
    await relay_app.until_soniox_is_empty()
    assert len(relay_app.receiver.at("/events")) == 1
    assert len(await relay_app.created_at_soniox()) == 1


async def test_an_error_at_soniox_ends_as_an_explained_failure(relay_app: RelayApp) -> None:
    endpoint = await relay_app.add_endpoint("/events")
    job = await relay_app.submit(client_reference_id="outcome=error:invalid_audio_file")
    done = await relay_app.finished(job["id"])
    assert (done["status"], done["error_type"]) == ("error", "invalid_audio_file")
    assert done["error_message"]
    answer = await relay_app.client.get(f"/v1/transcriptions/{job['id']}/transcript")
    assert (answer.status_code, answer.json()["error_type"]) == (409, "transcription_invalid_state")
    await relay_app.until_received("/events")
    event = relay_app.receiver.at("/events")[0]
    assert Verifier(endpoint["secret"]).verify(event.body, event.headers)["type"] == "transcription.failed"
    await relay_app.until_soniox_is_empty()


async def test_a_lost_answer_to_create_never_makes_a_second_transcription(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "SETTLE_AFTER_MS", 300)
    await relay_app.faults(lose_answer=[{"remaining": 1, "how": "cut"}], drop_webhook=True)
    job = await relay_app.submit()

    async def is_submitted() -> bool:
        return bool((await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["stage"] == "submitted")

    await relay_app.until(is_submitted)
    assert len(await relay_app.created_at_soniox()) == 1


async def made_by_hand(relay_app: RelayApp, webhook: str, secret: str) -> str:
    """A transcription of 5 tokens that Soniox has and the relay did not make; its id there."""
    created = await relay_app.soniox.post(
        "/v1/transcriptions",
        json={
            "model": MODEL,
            "audio_url": "https://sandbox.invalid/theirs.wav?tokens=5",
            "webhook_url": f"{relay_app.server.url}{webhook}",
            "webhook_auth_header_name": "X-Soniox-Webhook-Secret",
            "webhook_auth_header_value": secret,
        },
    )
    assert created.status_code == 201
    return str(created.json()["id"])


async def test_a_second_transcription_of_a_job_is_removed_at_soniox_when_its_webhook_comes(
    relay_app: RelayApp,
) -> None:
    """Its answer to create was lost, and Soniox had made it after all."""
    job = await relay_app.submit()
    done = await relay_app.finished(job["id"])
    await relay_app.until_soniox_is_empty()
    secret = relay_app.relay.secret_box.webhook_secret(job["id"])
    await made_by_hand(relay_app, f"/webhooks/soniox?job={job['id']}", secret)
    await relay_app.until_soniox_is_empty()
    assert (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json() == done


async def test_a_refused_submission_fails_with_soniox_own_words(relay_app: RelayApp) -> None:
    await relay_app.faults(
        refuse=[{"status": 400, "message": "Context is too long.", "match": "POST /v1/transcriptions"}]
    )
    job = await relay_app.submit()
    done = await relay_app.finished(job["id"])
    assert (done["status"], done["error_message"]) == ("error", "Context is too long.")


async def test_a_failed_transcription_can_be_tried_again(relay_app: RelayApp) -> None:
    await relay_app.faults(refuse=[{"status": 400, "message": "not today", "match": "POST /v1/transcriptions"}])
    job = await relay_app.submit()
    assert (await relay_app.finished(job["id"]))["error_message"] == "not today"
    await relay_app.faults()
    retried = await relay_app.client.post(f"/v1/transcriptions/{job['id']}/retry")
    assert retried.status_code == 200
    assert retried.json()["status"] == "queued"
    assert (await relay_app.finished(job["id"]))["status"] == "completed"
    again = await relay_app.client.post(f"/v1/transcriptions/{job['id']}/retry")
    assert again.status_code == 409


async def test_deleting_removes_it_here_at_once_and_at_soniox_behind_it(relay_app: RelayApp) -> None:
    job = await relay_app.submit(client_reference_id="processing_ms=400")

    async def is_at_soniox() -> bool:
        return bool((await relay_app.at_soniox())["counts"]["transcriptions"] == 1)

    await relay_app.until(is_at_soniox)
    assert (await relay_app.client.delete(f"/v1/transcriptions/{job['id']}")).status_code == 204
    assert (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).status_code == 404
    await relay_app.until_soniox_is_empty()


async def test_a_transcription_made_by_somebody_else_is_adopted_when_its_webhook_carries_the_master_secret(
    relay_app: RelayApp,
) -> None:
    await relay_app.add_endpoint("/events")
    soniox_id = await made_by_hand(relay_app, "/webhooks/soniox", MASTER_SECRET)
    await relay_app.until_received("/events")
    event = as_json(relay_app.receiver.at("/events")[0].body)
    assert event["data"]["soniox_id"] == soniox_id
    transcript = await relay_app.client.get(f"/v1/transcriptions/{event['data']['id']}/transcript")
    assert len(transcript.json()["tokens"]) == 5


@pytest.mark.parametrize("status", [500, 503, 410])
async def test_a_receiver_that_fails_is_tried_again_with_the_same_event_id_until_the_schedule_ends(
    relay_app: RelayApp, status: int
) -> None:
    await relay_app.add_endpoint("/events")
    relay_app.receiver.answer = lambda _request: Response(status_code=status)
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    tries = 1 if status == 410 else 4
    await relay_app.until_received("/events", tries)

    async def is_given_up() -> bool:
        (row,) = (await relay_app.client.get("/v1/deliveries")).json()["deliveries"]
        return bool(row["next_attempt_at"] is None and row["attempt_count"] == tries)

    await relay_app.until(is_given_up)
    assert len(relay_app.receiver.at("/events")) == tries
    assert len({request.headers["webhook-id"] for request in relay_app.receiver.at("/events")}) == 1
