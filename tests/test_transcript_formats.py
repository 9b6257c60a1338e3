"""Every format says what the tokens say, in the way its readers expect."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soniox.types import Token as SonioxToken
from soniox.utils import render_tokens

from service.transcripts.codec import pack
from service.transcripts.exports import Format, render, stream
from service.transcripts.filters import RenderOptions, TokenFilter


def token(text: str, start_ms: int, **more: Any) -> dict[str, Any]:
    end_ms = start_ms + 60 if start_ms else 0
    return {"text": text, "start_ms": start_ms, "end_ms": end_ms, "confidence": 0.9, **more}


CALL = [
    token("Can", 1_110, speaker="1", language="en", translation_status="original"),
    token(" you", 1_290, speaker="1", language="en", translation_status="original"),
    token("¿Pue", 0, speaker="1", language="es", translation_status="translation"),
    token("des?", 0, speaker="1", language="es", translation_status="translation"),
    token(" Ja", 2_850, speaker="2", language="de", translation_status="none"),
    token(".", 2_970, speaker="2", language="de", translation_status="none", confidence=0.7),
]


def as_soniox(tokens: list[dict[str, Any]]) -> str:
    return render_tokens([SonioxToken(**each) for each in tokens], [])


turn_fields = {
    "speaker": st.sampled_from([None, "1", "2"]),
    "language": st.sampled_from([None, "en", "de"]),
    "translation_status": st.sampled_from([None, "none", "original", "translation"]),
}
spoken = st.builds(token, st.sampled_from(["a", " b", " ", "", " c."]), st.integers(0, 9_999))
anyone = st.builds(lambda base, more: base | more, spoken, st.fixed_dictionaries({}, optional=turn_fields))


@settings(deadline=None)
@given(st.lists(anyone, max_size=12))
def test_text_is_what_soniox_itself_makes_of_the_tokens(tokens: list[dict[str, Any]]) -> None:
    assert render(Format.TEXT, tokens) == as_soniox(tokens)


def test_text_names_speakers_languages_and_translations() -> None:
    assert render(Format.TEXT, CALL) == (
        "Speaker 1:\n[en] Can you\n[Translation] [es] ¿Puedes?\n\nSpeaker 2:\n[de] Ja."
    )
    assert render(Format.TEXT, CALL) == as_soniox(CALL)


def test_segments_are_turns_with_times() -> None:
    turns = json.loads(render(Format.SEGMENTS, CALL))
    assert [(turn["speaker"], turn["text"], turn["start_ms"], turn["end_ms"]) for turn in turns] == [
        ("1", "Can you", 1_110, 1_350),
        ("1", "¿Puedes?", 1_110, 1_350),
        ("2", "Ja.", 2_850, 3_030),
    ]
    assert turns[2]["confidence"] == pytest.approx(0.8)
    assert turns[1]["translation_status"] == "translation"


def test_segments_without_translation_do_not_mention_it() -> None:
    assert "translation_status" not in json.loads(render(Format.SEGMENTS, [token("Hi", 30)]))[0]


def rows(tokens: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(Format.CSV, tokens), newline="")))


def test_csv_has_a_row_per_token() -> None:
    assert rows(CALL)[1] == {
        "start_ms": "1290", "end_ms": "1350", "text": " you", "confidence": "0.9", "speaker": "1",
        "language": "en", "source_language": "", "translation_status": "original",
    }  # fmt: skip
    assert len(rows(CALL)) == len(CALL)


@pytest.mark.parametrize("text", ['"quoted", he said', "two\nlines", "ünï👍"])
def test_csv_quotes_what_needs_quoting(text: str) -> None:
    assert rows([token(text, 30)])[0]["text"] == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =cmd|' /C calc'!A0", "\t=1", "\r=1"])
def test_csv_runs_no_formulas(text: str) -> None:
    assert rows([token(text, 30, speaker="=2")])[0]["text"] == f"'{text}"
    assert rows([token(text, 30, speaker="=2")])[0]["speaker"] == "'=2"


def test_json_has_the_chosen_tokens_unchanged() -> None:
    options = RenderOptions(transcription_id="relay-1", chosen=TokenFilter(speakers=("2",)))
    assert json.loads(render(Format.JSON, CALL, options)) == {"id": "relay-1", "text": " Ja.", "tokens": CALL[4:]}


def test_a_filter_knows_the_times_of_translations() -> None:
    options = RenderOptions(chosen=TokenFilter(translation="translation", from_ms=1_000, to_ms=2_000))
    assert render(Format.TEXT, CALL, options) == "Speaker 1:\n[Translation] [es] ¿Puedes?"


@pytest.mark.parametrize("fmt", list(Format))
async def test_a_streamed_document_equals_the_rendered_one(fmt: Any) -> None:
    tokens = CALL * 500
    packed = await pack(json.dumps({"id": "x", "text": "", "tokens": tokens}).encode())
    pieces = [piece async for piece in stream(fmt, [chunk.data for chunk in packed.chunks])]
    assert len(packed.chunks) > 1
    assert b"".join(pieces).decode() == render(fmt, tokens)


@pytest.mark.parametrize("fmt", list(Format))
def test_every_format_has_a_media_type_and_renders_nothing(fmt: Any) -> None:
    empty = {"json": '{"id":"","text":"","tokens":[]}', "segments": "[]", "vtt": "WEBVTT\n\n"}
    assert fmt.label
    assert "/" in fmt.media_type
    if fmt != "csv":
        assert render(fmt, []) == empty.get(fmt, "")
