"""The transcript route: what Soniox sent comes back, whole, in part, or in another form."""

import asyncio
import io
import json
from typing import Any

import httpx
import pysubs2
import pytest
import webvtt
from hypothesis import HealthCheck, given, settings
from sqlalchemy import update

from service.store.transcripts import chunks
from service.transcripts.exports import Format
from tests.support.relay_app import RelayApp, as_json
from tests.support.transcripts import document, put, said, spoken
from tests.test_transcript_codec import SHAPES, strict
from tests.test_transcript_codec import transcripts as any_transcript

pytestmark = pytest.mark.one_database  # formats and headers; the rows are read by key

PATH = "/v1/transcriptions/{}/transcript"


async def get(relay_app: RelayApp, transcription_id: str, **params: Any) -> httpx.Response:
    return await relay_app.client.get(PATH.format(transcription_id), params=params)


async def served(relay_app: RelayApp, transcription_id: str, **params: Any) -> Any:
    answer = await get(relay_app, transcription_id, **params)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content)


def texts(answer: dict[str, Any]) -> str:
    assert answer["text"] == "".join(token["text"] for token in answer["tokens"])
    return str(answer["text"])


async def test_every_recorded_shape_is_served_with_the_values_soniox_sent(relay_app: RelayApp) -> None:
    for name, transcript in SHAPES.items():
        transcription_id = await put(relay_app.relay, transcript)
        expected = strict({**transcript, "id": transcription_id})
        assert strict(await served(relay_app, transcription_id)) == expected, name


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transcript=any_transcript)
async def test_any_transcript_is_served_with_the_values_soniox_sent(
    relay_app: RelayApp, transcript: dict[str, Any]
) -> None:
    transcription_id = await put(relay_app.relay, transcript)
    assert strict(await served(relay_app, transcription_id)) == strict({**transcript, "id": transcription_id})


async def test_what_the_relay_serves_is_what_the_double_served(relay_app: RelayApp) -> None:
    await relay_app.faults(refuse=[{"status": 503, "match": "DELETE /v1/transcriptions/*"}])
    job = await relay_app.submit(
        audio_url="https://sandbox.invalid/tokens=300/speakers=3/translation=null",
        enable_speaker_diarization=True,
        translation={"type": "one_way", "target_language": "es"},
    )
    done = await relay_app.finished(job["id"])
    original = (await relay_app.soniox.get(PATH.format(done["soniox_id"]))).content
    assert strict(await served(relay_app, job["id"])) == strict({**json.loads(original), "id": job["id"]})


TALK = document(
    [
        *said("Good morning, this is the first call.", 0, speaker="1", language="en"),
        *said("Guten Morgen zusammen.", 4_000, speaker="2", language="de", confidence=0.4),
        *said("Thank you.", 60_000, speaker="1", language="en", translation_status="original"),
        spoken(" Gracias.", 0, end_ms=0, speaker="1", language="es", translation_status="translation"),
    ]
)


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"from_ms": 4_000, "to_ms": 4_400}, " Guten Morgen"),
    ({"from_ms": 60_000}, " Thank you. Gracias."),
    ({"to_ms": 300}, " Good"),
    ({"from_ms": 100, "to_ms": 100}, ""),
    ({"speaker": "2"}, " Guten Morgen zusammen."),
    ({"speaker": ["1", "2"], "language": "de,es"}, " Guten Morgen zusammen. Gracias."),
    ({"speaker": "7"}, ""),
    ({"translation": "translation"}, " Gracias."),
    ({"translation": "original", "from_ms": 60_000}, " Thank you."),
    ({"max_confidence": 0.5}, " Guten Morgen zusammen."),
]


async def test_a_part_is_chosen_by_time_speaker_language_translation_and_confidence(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    for params, expected in PARTS:
        assert texts(await served(relay_app, transcription_id, **params)) == expected, params


async def test_a_window_is_the_same_part_of_a_long_transcript_as_filtering_it_by_hand(relay_app: RelayApp) -> None:
    long = document([spoken(f" w{n}", 300 * n) for n in range(5_000)])
    transcription_id = await put(relay_app.relay, long)
    for from_ms, to_ms in ((0, 10_000), (299_000, 301_000), (600_000, 660_000), (1_499_000, 10**7)):
        expected = [t for t in long["tokens"] if t["start_ms"] < to_ms and t["end_ms"] > from_ms]
        assert (await served(relay_app, transcription_id, from_ms=from_ms, to_ms=to_ms))["tokens"] == expected


async def test_a_window_is_read_without_the_rest_of_the_transcript(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, document([spoken(f" w{n}", 300 * n) for n in range(5_000)]))
    spoil = update(chunks).where(chunks.c.position != 2).values(data=b"cannot be unpacked")
    await relay_app.relay.db.write(lambda session: session.execute(spoil))
    for fmt in list(Format):
        answer = await get(relay_app, transcription_id, format=fmt, from_ms=610_000, to_ms=670_000)
        assert answer.status_code == 200
        assert "w2100" in answer.text


MISTAKES = [
    ({"format": "docx"}, "query.format"),
    ({"format": ""}, "query.format"),
    ({"from_ms": "-1"}, "query.from_ms"),
    ({"from_ms": "1e3"}, "query.from_ms"),
    ({"to_ms": str(2**40)}, "query.to_ms"),
    ({"from_ms": "10", "to_ms": "9"}, "query.to_ms"),
    ({"translation": "some"}, "query.translation"),
    ({"max_confidence": "1.1"}, "query.max_confidence"),
    ({"max_confidence": "nan"}, "query.max_confidence"),
    ({"max_chars": "3"}, "query.max_chars"),
    ({"max_lines": "0"}, "query.max_lines"),
    ({"chars_per_second": "inf"}, "query.chars_per_second"),
    ({"min_duration_ms": "5000", "max_duration_ms": "4000"}, "query.max_duration_ms"),
]


async def test_a_parameter_that_makes_no_sense_is_named(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    for params, location in MISTAKES:
        answer = await get(relay_app, transcription_id, **params)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request"), params
        assert location in {each["location"] for each in answer.json()["validation_errors"]}


async def test_each_format_has_its_media_type_and_a_name_to_save_it_under(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK, filename='C:\\talks\\Überblick "1".final.mp3')
    expected = {
        "json": ("application/json", None),
        "segments": ("application/json", None),
        "text": ("text/plain; charset=utf-8", "inline"),
        "srt": ("application/x-subrip; charset=utf-8", "attachment"),
        "vtt": ("text/vtt; charset=utf-8", "attachment"),
        "csv": ("text/csv; charset=utf-8; header=present", "attachment"),
    }
    for fmt, (media_type, kind) in expected.items():
        answer = await get(relay_app, transcription_id, format=fmt)
        assert answer.headers["content-type"] == media_type
        disposition = answer.headers.get("content-disposition")
        assert (disposition and disposition.split(";")[0]) == kind
        if disposition:
            suffix = "txt" if fmt == "text" else fmt
            assert f'filename="_berblick _1_.final.{suffix}"' in disposition
            assert f"filename*=UTF-8''%C3%9Cberblick%20_1_.final.{suffix}" in disposition


async def test_subtitles_are_read_by_other_programs_and_follow_the_options(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    vtt = (await get(relay_app, transcription_id, format="vtt")).text
    shown = webvtt.from_buffer(io.StringIO(vtt)).captions
    assert [cue.voice for cue in shown] == ["Speaker 1", "Speaker 2", "Speaker 1"]
    srt = (await get(relay_app, transcription_id, format="srt", max_chars=16, max_lines=1)).text
    lines = [event.plaintext for event in pysubs2.SSAFile.from_string(srt)]
    assert " ".join(lines).startswith("Good morning, this is the first call.")
    assert max(map(len, lines)) <= 16
    spanish = (await get(relay_app, transcription_id, format="srt", translation="translation")).text
    assert [(event.plaintext, event.start) for event in pysubs2.SSAFile.from_string(spanish)] == [
        ("Gracias.", 60_000)
    ]


async def test_text_segments_and_table_say_who_spoke(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    assert (await get(relay_app, transcription_id, format="text", speaker="2")).text == (
        "Speaker 2:\n[de] Guten Morgen zusammen."
    )
    segments = (await get(relay_app, transcription_id, format="segments")).json()
    assert [segment["speaker"] for segment in segments] == ["1", "2", "1", "1"]
    table = (await get(relay_app, transcription_id, format="csv")).text.splitlines()
    assert len(table) == 1 + len(TALK["tokens"])


async def test_who_has_it_already_gets_no_body(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    first = await get(relay_app, transcription_id)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await relay_app.client.get(PATH.format(transcription_id), headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    changed = await relay_app.client.get(PATH.format(transcription_id), headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


async def test_the_tag_differs_for_whatever_makes_the_answer_differ(relay_app: RelayApp) -> None:
    one, other = await put(relay_app.relay, TALK), await put(relay_app.relay, document(said("else")))
    wanted: list[dict[str, Any]] = [{}, {"format": "srt"}, {"format": "srt", "max_chars": 20}, {"from_ms": 1}]
    answers = [await get(relay_app, each, **params) for params in wanted for each in (one, other)]
    assert len({answer.headers["etag"] for answer in answers}) == len(answers)
    same = [await get(relay_app, one, speaker=order) for order in ("1,2", ["2", "1"])]
    assert same[0].headers["etag"] == same[1].headers["etag"]


async def test_there_is_no_transcript_before_the_end_nor_after_a_failure(relay_app: RelayApp) -> None:
    for stage in ("accepted", "submitted", "failed"):
        transcription_id = await put(relay_app.relay, TALK, stage=stage, check_at_ms=2**50)
        answer = await get(relay_app, transcription_id)
        assert (answer.status_code, answer.json()["error_type"]) == (409, "transcription_invalid_state"), stage


async def test_an_unknown_or_deleted_transcription_has_none(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    assert (await relay_app.client.delete(f"/v1/transcriptions/{transcription_id}")).status_code == 204
    for each in (transcription_id, "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "nonsense"):
        answer = await get(relay_app, each)
        assert (answer.status_code, answer.json()["error_type"]) == (404, "transcription_not_found")


async def test_readers_who_take_their_time_keep_nobody_waiting(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, document([spoken(f" w{n}", 30 * n) for n in range(40_000)]))
    slow = []
    for _ in range(20):  # more than there are connections
        request = relay_app.client.build_request("GET", PATH.format(transcription_id))
        slow.append(await relay_app.client.send(request, stream=True))
    async with asyncio.timeout(5):
        assert (await get(relay_app, transcription_id, to_ms=60)).status_code == 200
    assert len(json.loads(await slow.pop().aread())["tokens"]) == 40_000
    for answer in slow:
        await answer.aclose()


async def test_a_transcription_shows_the_summary_of_its_transcript(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, TALK)
    summary = (await relay_app.client.get(f"/v1/transcriptions/{transcription_id}")).json()["summary"]
    assert summary["words"] == 12
    assert set(summary["speakers"]) == {"1", "2"}
    assert summary["translated"] is True
    await relay_app.submit(client_reference_id="stuck")
    page = (await relay_app.client.get("/v1/transcriptions")).json()["transcriptions"]
    assert [job["summary"] for job in page] == [None, summary]


async def test_the_event_brings_the_summary_along(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/events")
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    await relay_app.until_received("/events")
    summary = as_json(relay_app.receiver.at("/events")[0].body)["data"]["summary"]
    assert summary["token_count"] == 12
    shown = (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["summary"]
    assert summary == shown


async def test_the_text_of_a_transcript_is_soniox_own(relay_app: RelayApp) -> None:
    joined = await put(relay_app.relay, TALK)
    other = await put(relay_app.relay, document(said("one two"), text="one two, said otherwise"))
    for transcription_id, text in ((joined, TALK["text"]), (other, "one two, said otherwise")):
        served = await relay_app.client.get(f"/v1/transcriptions/{transcription_id}/transcript")
        assert served.json()["text"] == text
