"""A transcription's way through the relay, once for each road it may take."""

import asyncio
import json

import pytest
from standardwebhooks import Webhook as Verifier
from starlette.responses import Response

from service.sandbox import SandboxConfig
from service.sandbox.speech import recording_path, recording_text
from tests.support.house import MASTER_SECRET, MODEL, House, as_json, open_house


async def test_a_webhook_brings_the_result_and_every_receiver_hears_of_it(house: House) -> None:
    endpoint = await house.add_endpoint("/events")
    job = await house.submit(
        webhook_url=f"{house.receiver_url}/mine",
        webhook_auth_header_name="X-Mine",
        webhook_auth_header_value="abc",
    )
    assert job["status"] == "queued"

    done = await house.finished(job["id"])
    assert done["status"] == "completed"
    assert done["audio_duration_ms"] > 0
    transcript = (await house.client.get(f"/v1/transcriptions/{job['id']}/transcript")).json()
    assert transcript["id"] == job["id"]
    assert "".join(token["text"] for token in transcript["tokens"]) == transcript["text"]
    assert len(transcript["tokens"]) == 12

    await house.until_received("/events")
    await house.until_received("/mine")
    event = house.receiver.at("/events")[0]
    verified = Verifier(endpoint["secret"]).verify(event.body, event.headers)
    assert verified["type"] == "transcription.completed"
    assert verified["data"]["id"] == job["id"]
    assert verified["data"]["transcript_url"].endswith(f"/v1/transcriptions/{job['id']}/transcript")
    mine = house.receiver.at("/mine")[0]
    assert as_json(mine.body) == {"id": job["id"], "status": "completed"}
    assert mine.headers["x-mine"] == "abc"

    await house.until_soniox_is_empty()
    assert len(await house.created_at_soniox()) == 1


async def test_a_file_in_the_same_call_is_really_recognised(database_url: str) -> None:
    async with open_house(database_url, SandboxConfig(processing_ms=10)) as house:
        with recording_path().open("rb") as recording:
            answer = await house.client.post(
                "/v1/transcriptions",
                files={"file": ("hello.wav", recording), "request": (None, json.dumps({"model": MODEL}))},
            )
        assert answer.status_code == 201
        done = await house.finished(answer.json()["id"], within_s=40)
        assert done["filename"] == "hello.wav"
        transcript = (await house.client.get(f"/v1/transcriptions/{done['id']}/transcript")).json()
        assert transcript["text"] == recording_text()
        await house.until_soniox_is_empty()


async def test_a_file_that_lies_at_soniox_already_is_used_and_left_there(house: House) -> None:
    uploaded = await house.soniox.post("/v1/files", files={"file": ("theirs.wav", b"audio")})
    answer = await house.client.post("/v1/transcriptions", json={"model": MODEL, "file_id": uploaded.json()["id"]})
    done = await house.finished(answer.json()["id"])
    assert done["status"] == "completed"
    assert (await house.soniox.get(f"/v1/files/{uploaded.json()['id']}")).status_code == 200


async def test_a_lost_webhook_is_found_by_the_reconciler(database_url: str) -> None:
    async with open_house(database_url, relay_reconcile_grace_s=0.2) as house:
        await house.faults(drop_webhook=True)
        job = await house.submit()
        done = await house.finished(job["id"])
        assert done["status"] == "completed"
        assert [entry["source"] for entry in done["timeline"] if entry["step"] == "completed"] == ["reconciler"]
        await house.until_soniox_is_empty()


async def test_a_duplicated_webhook_changes_nothing(house: House) -> None:
    await house.add_endpoint("/events")
    await house.faults(duplicate_webhook=[{"times": 4}])
    job = await house.submit()
    await house.finished(job["id"])
    await house.until_soniox_is_empty()
    await asyncio.sleep(0.3)
    assert len(house.receiver.at("/events")) == 1
    assert len(await house.created_at_soniox()) == 1


async def test_a_webhook_that_overtakes_the_answer_to_create_finds_its_job(house: House) -> None:
    await house.add_endpoint("/events")
    await house.faults(early_webhook=True)
    job = await house.submit()
    done = await house.finished(job["id"])
    assert done["status"] == "completed"
    await house.until_soniox_is_empty()
    assert len(house.receiver.at("/events")) == 1
    assert len(await house.created_at_soniox()) == 1


async def test_an_error_at_soniox_ends_as_an_explained_failure(house: House) -> None:
    endpoint = await house.add_endpoint("/events")
    job = await house.submit(client_reference_id="outcome=error:invalid_audio_file")
    done = await house.finished(job["id"])
    assert (done["status"], done["error_type"]) == ("error", "invalid_audio_file")
    assert done["error_message"]
    answer = await house.client.get(f"/v1/transcriptions/{job['id']}/transcript")
    assert (answer.status_code, answer.json()["error_type"]) == (409, "transcription_invalid_state")
    await house.until_received("/events")
    event = house.receiver.at("/events")[0]
    assert Verifier(endpoint["secret"]).verify(event.body, event.headers)["type"] == "transcription.failed"
    await house.until_soniox_is_empty()


async def test_a_lost_answer_to_create_never_makes_a_second_transcription(house: House) -> None:
    await house.faults(lose_answer=[{"remaining": 1, "how": "cut"}], drop_webhook=True)
    job = await house.submit()

    async def is_submitted() -> bool:
        return bool((await house.client.get(f"/v1/transcriptions/{job['id']}")).json()["stage"] == "submitted")

    await house.until(is_submitted)
    assert len(await house.created_at_soniox()) == 1


async def made_by_hand(house: House, webhook: str, secret: str) -> str:
    """A transcription of 5 tokens that Soniox has and the relay did not make; its id there."""
    created = await house.soniox.post(
        "/v1/transcriptions",
        json={
            "model": MODEL,
            "audio_url": "https://sandbox.invalid/theirs.wav?tokens=5",
            "webhook_url": f"{house.server.url}{webhook}",
            "webhook_auth_header_name": "X-Soniox-Webhook-Secret",
            "webhook_auth_header_value": secret,
        },
    )
    assert created.status_code == 201
    return str(created.json()["id"])


async def test_a_second_transcription_of_a_job_is_removed_at_soniox_when_its_webhook_comes(house: House) -> None:
    """Its answer to create was lost, and Soniox had made it after all."""
    job = await house.submit()
    done = await house.finished(job["id"])
    await house.until_soniox_is_empty()
    secret = house.relay.vault.webhook_secret(job["id"])
    await made_by_hand(house, f"/webhooks/soniox?job={job['id']}", secret)
    await house.until_soniox_is_empty()
    assert (await house.client.get(f"/v1/transcriptions/{job['id']}")).json() == done


async def test_a_refused_submission_fails_with_soniox_own_words(house: House) -> None:
    await house.faults(
        refuse=[{"status": 400, "message": "Context is too long.", "match": "POST /v1/transcriptions"}]
    )
    job = await house.submit()
    done = await house.finished(job["id"])
    assert (done["status"], done["error_message"]) == ("error", "Context is too long.")


async def test_a_failed_transcription_can_be_tried_again(house: House) -> None:
    await house.faults(refuse=[{"status": 400, "message": "not today", "match": "POST /v1/transcriptions"}])
    job = await house.submit()
    assert (await house.finished(job["id"]))["error_message"] == "not today"
    await house.faults()
    retried = await house.client.post(f"/v1/transcriptions/{job['id']}/retry")
    assert retried.status_code == 200
    assert retried.json()["status"] == "queued"
    assert (await house.finished(job["id"]))["status"] == "completed"
    again = await house.client.post(f"/v1/transcriptions/{job['id']}/retry")
    assert again.status_code == 409


async def test_deleting_removes_it_here_at_once_and_at_soniox_behind_it(house: House) -> None:
    job = await house.submit(client_reference_id="processing_ms=400")

    async def is_at_soniox() -> bool:
        return (await house.at_soniox())["counts"]["transcriptions"] == 1

    await house.until(is_at_soniox)
    assert (await house.client.delete(f"/v1/transcriptions/{job['id']}")).status_code == 204
    assert (await house.client.get(f"/v1/transcriptions/{job['id']}")).status_code == 404
    await house.until_soniox_is_empty()


async def test_a_transcription_made_by_somebody_else_is_adopted_when_its_webhook_carries_the_master_secret(
    house: House,
) -> None:
    await house.add_endpoint("/events")
    soniox_id = await made_by_hand(house, "/webhooks/soniox", MASTER_SECRET)
    await house.until_received("/events")
    event = as_json(house.receiver.at("/events")[0].body)
    assert event["data"]["soniox_id"] == soniox_id
    transcript = await house.client.get(f"/v1/transcriptions/{event['data']['id']}/transcript")
    assert len(transcript.json()["tokens"]) == 5


@pytest.mark.parametrize("status", [500, 503, 410])
async def test_a_receiver_that_fails_is_tried_again_with_the_same_event_id_until_the_schedule_ends(
    house: House, status: int
) -> None:
    await house.add_endpoint("/events")
    house.receiver.answer = lambda _request: Response(status_code=status)
    job = await house.submit()
    await house.finished(job["id"])
    tries = 1 if status == 410 else 4
    await house.until_received("/events", tries)
    await asyncio.sleep(0.3)
    assert len(house.receiver.at("/events")) == tries
    assert len({request.headers["webhook-id"] for request in house.receiver.at("/events")}) == 1
