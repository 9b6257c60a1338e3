"""Transcripts survive storage exactly, whatever Soniox puts into them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transcripts import codec
from service.transcripts.codec import MalformedTranscriptError, Packed, pack, unpack
from service.transcripts.columns import unpack_tokens
from service.transcripts.exports import json_body
from service.transcripts.filters import TokenFilter

PLAIN = {
    "confidence": 0.9931,
    "speaker": None,
    "language": None,
    "is_audio_event": None,
    "translation_status": None,
}


def spoken(text: str, start_ms: int, **more: Any) -> dict[str, Any]:
    return {"text": text, "start_ms": start_ms, "end_ms": start_ms + 60, **PLAIN, **more}


def translated(text: str, **times: Any) -> dict[str, Any]:
    return {
        "text": text,
        **times,
        "confidence": 0.95,
        "language": "es",
        "source_language": "en",
        "translation_status": "translation",
    }


def document(tokens: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "soniox-1",
        "text": "".join(token.get("text") or "" for token in tokens),
        "tokens": tokens,
        **more,
    }


def encode(transcript: Any) -> bytes:
    return json.dumps(transcript).encode()


def datas(packed: Packed) -> list[bytes]:
    return [chunk.data for chunk in packed.chunks]


def restored(body: bytes) -> dict[str, Any]:
    async def there_and_back() -> dict[str, Any]:
        packed = await pack(body)
        return await unpack(packed.envelope, datas(packed))

    return asyncio.run(there_and_back())


def strict(value: Any) -> Any:
    """A value that is equal only to values of the same types, signs and key order."""
    match value:
        case dict():
            return [(key, strict(member)) for key, member in value.items()]
        case list():
            return ["list", *map(strict, value)]
        case _:
            return type(value).__name__, repr(value)


def assert_lossless(body: bytes) -> None:
    assert strict(restored(body)) == strict(json.loads(body))


@pytest.fixture
def tiny_pieces() -> Iterator[None]:
    with patch.object(codec, "_SLICE_BYTES", 100), patch.object(codec, "CHUNK_TOKENS", 3):
        yield


SHAPES = {
    "an empty transcript": document([]),
    "a plain job with nulls": document(
        [spoken("Hel", 690), spoken("lo,", 870, confidence=1), spoken(" this", 1230)]
    ),
    "keys absent instead of null": document([{"text": "Hi", "start_ms": 30, "end_ms": 90, "confidence": 0.5}]),
    "keys absent here and null there": document([spoken("a", 30), {"text": "b"}, {}, spoken("c", 90), {}]),
    "16 digits of confidence": document(
        [spoken("a", 30, confidence=0.1234567890123456), spoken("b", 90, confidence=1.0)]
    ),
    "translation at 0/0": document(
        [spoken("Thank", 450), translated("Gra", start_ms=0, end_ms=0), spoken(" you", 900)]
    ),
    "translation at null": document([spoken("Thank", 450), translated("Gra", start_ms=None, end_ms=None)]),
    "translation without times": document([spoken("Thank", 450), translated("Gra"), translated("cias.")]),
    "emoji, right-to-left and no spaces": document(
        [spoken("👩‍👩‍👧", 30), spoken(" שלום", 90), spoken("你好", 150), spoken("สวัสดี", 210)]
    ),
    "a zero byte in a text": document([spoken("a\0b", 30), spoken("c", 90)]),
    "unknown fields everywhere": document(
        [spoken("a", 30, words=[{"x": 1}, {"x": 1.0}], n=10**40)], model={"v": [None, True]}
    ),
    "text that is not the tokens' join": {"text": "else", "id": "x", "tokens": [spoken("a", 30)], "later": 1},
    "times wider than 64 bits": document([{"start_ms": -(2**63)}, {"start_ms": 2**63 - 1, "end_ms": 2**70}]),
    "numbers equal but of other types": document(
        [spoken("a", 1, x=1), spoken("b", 2, x=1.0), spoken("c", 3, x=True)]
    ),
}


@pytest.mark.parametrize("transcript", SHAPES.values(), ids=SHAPES)
def test_every_recorded_shape_comes_back_as_it_was(transcript: dict[str, Any]) -> None:
    assert_lossless(encode(transcript))


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
token_fields = {
    "text": st.text(max_size=5) | st.sampled_from(["},{", '"tokens":[', " a", "\\"]),
    "start_ms": st.integers(0, 10**7) | scalars,
    "end_ms": st.integers(0, 10**7) | scalars,
    "confidence": st.floats(0, 1) | st.sampled_from([0, 1]) | scalars,
    "speaker": st.sampled_from(["1", "2", None]) | scalars,
    "translation_status": st.sampled_from(["none", "original", "translation", None]),
    "extra": values,
}
names = st.text(max_size=3).filter("id".__ne__)
transcripts = st.builds(
    lambda tokens, text, before, after: {**before, "id": "x", "text": text, "tokens": tokens, **after},
    st.lists(st.fixed_dictionaries({}, optional=token_fields), max_size=25),
    st.text(),
    st.dictionaries(names, values, max_size=2),
    st.dictionaries(names, values, max_size=2),
)


@given(transcripts, st.booleans())
def test_any_transcript_comes_back_as_it_was(transcript: dict[str, Any], ascii_only: bool) -> None:
    assert_lossless(json.dumps(transcript, ensure_ascii=ascii_only).encode())


@given(transcripts, st.sampled_from([None, 1]))
def test_any_transcript_comes_back_when_it_is_cut_into_tiny_pieces(
    transcript: dict[str, Any], indent: int | None
) -> None:
    with patch.object(codec, "_SLICE_BYTES", 60), patch.object(codec, "CHUNK_TOKENS", 2):
        assert_lossless(json.dumps(transcript, indent=indent).encode())


@pytest.mark.usefixtures("tiny_pieces")
def test_a_cut_is_never_made_inside_a_string_or_a_nested_value() -> None:
    nested = [{"text": "},{", "inner": [{"a": "}, {"}, {"b": {}}], "quote": '"},{"'}] * 30
    assert_lossless(encode(document(nested, notes=[{"tokens": []}, {"x": 1}])))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"id":"x","text":"","tokens":{}}', b'{"id":"x","text":"","tokens":[1]}',
        b'{"id":"x","text":"","tokens":null}', b'{"id":1,"text":"","tokens":[]}', b'{"id":"x","tokens":[]}',
        b'{"id":"x","text":"","tokens":[{}]', b'{"id":"x","text":"","tokens":[]}}',
        b'{"id":"x","text":"\xff","tokens":[]}',
        b'{"id":"x","text":"","tokens":[{"text":"\\ud83d"}]}', b"[" * 100_000,
    ],
)  # fmt: skip
async def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedTranscriptError):
        await pack(body)


async def test_a_large_body_broken_in_the_middle_is_refused() -> None:
    body = encode(document([spoken(" word", 30 + 60 * n) for n in range(4_000)]))
    with pytest.raises(MalformedTranscriptError):
        await pack(body[:300_000] + b"}" + body[300_000:])


def long_transcript(count: int) -> dict[str, Any]:
    dice = random.Random(1)
    return document(
        [spoken(dice.choice([" on", "ly", " go"]), 30 + 120 * n, confidence=dice.random()) for n in range(count)]
    )


async def test_chunks_say_what_they_hold() -> None:
    packed = await pack(encode(long_transcript(3_500)))
    assert [chunk.position for chunk in packed.chunks] == list(range(len(packed.chunks)))
    assert sum(chunk.token_count for chunk in packed.chunks) == packed.token_count == 3_500
    for chunk in packed.chunks:
        tokens = unpack_tokens(chunk.data)
        assert chunk.token_count == len(tokens)
        assert (chunk.start_ms, chunk.end_ms) == (tokens[0]["start_ms"], tokens[-1]["end_ms"])
        assert chunk.min_confidence == min(token["confidence"] for token in tokens)
        assert tokens[0]["text"].startswith(" ") or chunk.position == 0


async def test_a_chunk_without_times_or_confidences_says_so() -> None:
    packed = await pack(encode(document([{"text": "a"}])))
    assert (packed.chunks[0].start_ms, packed.chunks[0].end_ms, packed.chunks[0].min_confidence) == (
        None,
        None,
        None,
    )


async def test_a_translation_stays_in_one_chunk_with_its_originals() -> None:
    passage = [spoken(" yes", 0, translation_status="original")] * 7 + [
        translated(" sí", start_ms=0, end_ms=0)
    ] * 6
    packed = await pack(encode(document(passage * 300)))
    firsts = [unpack_tokens(chunk.data)[0] for chunk in packed.chunks]
    lasts = [unpack_tokens(chunk.data)[-1] for chunk in packed.chunks]
    assert len(packed.chunks) > 2
    assert {token["translation_status"] for token in firsts} == {"original"}
    assert {token["translation_status"] for token in lasts} == {"translation"}


async def served(packed: Packed, chosen: TokenFilter | None = None) -> dict[str, Any]:
    async def from_database() -> AsyncIterator[bytes]:
        for data in datas(packed):
            yield data

    pieces = [piece async for piece in json_body(packed.envelope, from_database(), "relay-1", chosen)]
    answer: dict[str, Any] = json.loads(b"".join(pieces))
    return answer


@pytest.mark.parametrize("transcript", [*SHAPES.values(), long_transcript(3_500)])
async def test_the_served_document_differs_only_in_its_id(transcript: dict[str, Any]) -> None:
    assert strict(await served(await pack(encode(transcript)))) == strict({**transcript, "id": "relay-1"})


async def test_a_filtered_document_has_only_the_chosen_tokens_and_their_text() -> None:
    packed = await pack(encode(long_transcript(2_500)))
    answer = await served(packed, TokenFilter(from_ms=150_030, to_ms=150_300))
    assert [token["start_ms"] for token in answer["tokens"]] == [150_030, 150_150, 150_270]
    assert answer["text"] == "".join(token["text"] for token in answer["tokens"])
    assert (await served(packed, TokenFilter(speakers=("9",))))["tokens"] == []


async def test_a_token_needs_at_most_15_bytes() -> None:
    dice = random.Random(2)
    words = [" " + "".join(dice.choices("etaoinshrdlu", k=dice.randint(1, 6))) for _ in range(5_000)]
    clocks = [30 + 240 * n for n in range(20_000)]
    tokens = [
        spoken(dice.choice(words), ms, confidence=dice.random(), speaker=str(ms // 9_000 % 3)) for ms in clocks
    ]
    packed = await pack(encode(document(tokens)))
    assert (len(packed.envelope) + sum(map(len, datas(packed)))) / 20_000 < 13


async def test_packing_gives_way_to_other_tasks() -> None:
    body = encode(long_transcript(10_000))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    packed = await pack(body)
    task.cancel()
    assert turns >= len(packed.chunks) >= 5


def test_data_of_another_codec_version_is_refused() -> None:
    with pytest.raises(ValueError, match="codec version"):
        unpack_tokens(b"\x09abc")
