"""Search: words in stored transcripts, found alike on both databases."""

import asyncio
import json
from itertools import accumulate
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.search import MAX_QUERY
from service.crypto import hash_api_key
from service.pipeline.collect import OWNER as ADOPTED
from service.store import keys, search
from service.tables import ApiKey
from service.transcripts.codec import pack
from service.transcripts.passages import matches
from service.transcripts.search_terms import composed, fold, parse, places
from tests.support.relay_app import RelayApp
from tests.support.rows import value
from tests.support.transcripts import document, put, said, spoken

CALL = document(
    [
        *said("Good morning and welcome to the quarterly budget review.", 0, speaker="1", language="en"),
        *said("Danke, schöne Grüße aus der Straße.", 9_000, speaker="2", language="de"),
        *said("We'll discuss the e-mail budget <b>first</b> & then İstanbul.", 20_000, speaker="1"),
        *[
            spoken(char, 40_000 + 100 * n, speaker="3", language="zh")
            for n, char in enumerate("今天我们讨论预算。")
        ],
        *[spoken(part, 50_000 + 100 * n, speaker="3", language="th") for n, part in enumerate(["สวัส", "ดีครับ"])],
        *said("वह हिन्दी बोलता है", 60_000, speaker="4"),
        *said("שָׁלוֹם עולם", 70_000, speaker="5"),
        *said("transcription transcribes the transcript", 80_000, speaker="6"),
    ]
)


async def hits(relay_app: RelayApp, q: str, **params: Any) -> list[dict[str, Any]]:
    answer = await relay_app.client.get("/v1/search", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["hits"])


def when(found: list[dict[str, Any]]) -> list[int]:
    return [hit["start_ms"] for hit in found]


FOUND: list[tuple[str, list[int]]] = [
    ("budget", [2_100, 21_200]),
    ("BUDGET review", [2_100]),
    ("review morning", [300]),
    ('"budget review"', [2_100]),
    ('"review budget"', []),
    ('"welcome to the quarterly"', [900]),
    ("schone grusse strasse", [9_300]),
    ("SCHÖNE", [9_300]),
    ("well", [20_000]),
    ("we'll", [20_000]),
    ("email", []),
    ("e-mail", [20_900]),
    ("istanbul", [22_400]),
    ("b first", [21_500]),
    ("预算", [40_600]),
    ("讨论预算", [40_400]),
    ("算预", []),
    ("今天 预算", [40_000]),
    ("สวัสดี", [50_000]),
    ("हिन्दी", [60_300]),
    ("שלום", [70_000]),
    ("transcri*", [80_000]),
    ("transcript", [80_900]),
    ('"transcription transcr"*', [80_000]),
    ("t*", []),
    ("nowhere", []),
    ("budget nowhere", []),
]


async def test_words_phrases_and_beginnings_are_found_where_they_are_said(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, CALL)
    wrong = {}
    for q, expected in FOUND:
        found = await hits(relay_app, q)
        if when(found) != expected:
            wrong[q] = when(found)
        assert {hit["transcription_id"] for hit in found} <= {transcription_id}
    assert wrong == {}


async def test_a_hit_tells_when_who_and_shows_the_words_around_it(relay_app: RelayApp) -> None:
    transcription_id = await put(relay_app.relay, CALL)
    (hit,) = await hits(relay_app, "e-mail FIRST")
    assert hit == {
        "transcription_id": transcription_id,
        "start_ms": 20_900,
        "end_ms": 20_960,
        "speaker": "1",
        "language": None,
        "translation": False,
        "snippet": "We'll discuss the <mark>e-mail</mark> budget"
        " &lt;b&gt;<mark>first</mark>&lt;/b&gt; &amp; then İstanbul.",
    }


async def test_a_long_turn_is_shown_only_around_the_match(relay_app: RelayApp) -> None:
    await put(relay_app.relay, document(said(" ".join(f"word{n}" for n in range(140)))))
    (hit,) = await hits(relay_app, "word70")
    assert hit["snippet"].startswith("…word")
    assert hit["snippet"].endswith("…")
    assert "<mark>word70</mark>" in hit["snippet"]
    assert len(hit["snippet"]) < 250


async def test_a_translation_is_found_at_the_time_of_what_it_translates(relay_app: RelayApp) -> None:
    tokens = [
        *said("thank you", 5_000, language="en", translation_status="original"),
        *said("muchas gracias", 0, language="es", translation_status="translation", end_ms=0),
    ]
    await put(
        relay_app.relay,
        document([{**token, "start_ms": 0} if token["end_ms"] == 0 else token for token in tokens]),
    )
    (hit,) = await hits(relay_app, "gracias")
    assert (hit["translation"], hit["language"]) == (True, "es")
    assert 5_000 < hit["start_ms"] < 5_360
    assert await hits(relay_app, "thank gracias") == []


async def test_every_word_of_a_long_turn_is_found_once_also_across_chunks(relay_app: RelayApp) -> None:
    words = [f"zulu{n}" + ("." if n % 17 == 0 else "") for n in range(2_500)]
    await put(relay_app.relay, document(said(" ".join(words), 30, speaker="1")))
    for n in (0, 99, 100, 149, 150, 998, 999, 1_000, 1_001, 1_999, 2_000, 2_499):
        assert when(await hits(relay_app, f"zulu{n}")) == [30 + 300 * n]
    assert len(await hits(relay_app, "zulu*", limit=100)) == 19  # passages, of 8 sentences of 17 words each


async def test_passages_that_take_several_statements_are_found_in_their_order(relay_app: RelayApp) -> None:
    number = 2 * search.ROWS_AT_ONCE + 10
    turns = [token for n in range(number) for token in said(f"yankee turn{n}", 1_000 * n, speaker=str(n % 2))]
    await put(relay_app.relay, document(turns))
    found = when(await hits(relay_app, "yankee", limit=100))
    assert found == [1_000 * n for n in range(100)]
    for n in (search.ROWS_AT_ONCE - 1, search.ROWS_AT_ONCE, number - 1):
        assert when(await hits(relay_app, f"turn{n}")) == [1_000 * n + 300]


async def test_hits_come_in_pages_newest_transcript_first_and_none_twice(relay_app: RelayApp) -> None:
    ids = [
        await put(relay_app.relay, document(said("alpha beta") + said("alpha", 5_000, speaker="2")))
        for _ in range(7)
    ]
    expected = [(transcription_id, start) for transcription_id in reversed(ids) for start in (0, 5_000)]
    found: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await relay_app.client.get("/v1/search", params={"q": "alpha", "limit": 4, "cursor": cursor})
        page, cursor = answer.json()["hits"], answer.json()["next_page_cursor"]
        assert len(page) <= 4
        found += [(hit["transcription_id"], hit["start_ms"]) for hit in page]
    assert found == expected
    assert when(await hits(relay_app, "alpha", speaker="2", transcription_id=ids[3])) == [5_000]
    assert when(await hits(relay_app, "alpha", speaker="2,3", limit=100)) == [5_000] * 7
    assert await hits(relay_app, "alpha", speaker="9") == []


async def test_a_key_finds_only_its_own(relay_app: RelayApp) -> None:
    secret = "relay-key-of-somebody-else-0001"
    key = ApiKey(id="key_else", name="else", hash=hash_api_key(secret), scopes=["read"], created_at_ms=1)
    await relay_app.relay.db.write(lambda session: keys.add(session, key))
    ours = await put(relay_app.relay, document(said("shared word")))
    theirs = await put(relay_app.relay, document(said("shared word")), owner=key.id)
    adopted = await put(relay_app.relay, document(said("shared word")), owner=ADOPTED)
    assert [hit["transcription_id"] for hit in await hits(relay_app, "shared")] == [adopted, theirs, ours]
    answer = await relay_app.client.get(
        "/v1/search", params={"q": '"shared word"'}, headers={"Authorization": f"Bearer {secret}"}
    )
    assert [hit["transcription_id"] for hit in answer.json()["hits"]] == [theirs]
    answer = await relay_app.client.get(
        "/v1/search", params={"q": "shared"}, headers={"Authorization": "Bearer no"}
    )
    assert answer.status_code == 401


async def test_what_was_deleted_is_not_found_and_leaves_no_row(relay_app: RelayApp) -> None:
    gone, kept = [await put(relay_app.relay, document(said("remember the milk"))) for _ in range(2)]
    assert (await relay_app.client.delete(f"/v1/transcriptions/{gone}")).status_code == 204
    assert [hit["transcription_id"] for hit in await hits(relay_app, "milk")] == [kept]
    assert (await relay_app.client.delete(f"/v1/transcriptions/{kept}")).status_code == 204
    assert await hits(relay_app, "milk") == []
    for table in ("search_words", "passages", "transcript_chunks", "transcripts"):
        assert await value(relay_app.relay.db, f"SELECT count(*) FROM {table}") == 0  # noqa: S608  # our names


async def test_a_result_of_the_pipeline_is_found_as_soon_as_it_is_completed(relay_app: RelayApp) -> None:
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    answer = await relay_app.client.get(f"/v1/transcriptions/{job['id']}/transcript")
    assert [hit["transcription_id"] for hit in await hits(relay_app, answer.json()["text"])] == [job["id"]]


HOSTILE = [
    '"', '""', "*", "***", "'", "';--", "a' OR '1'='1", "AND", "OR NOT", "NEAR(a b)", "a AND", "(", ")", "a:b",
    "words:a", "^a", "-a", "a & b | !c", "a <-> b", "a:*", "\\", "%", "_", "\0", "a\0b", "\ud7ff\ue000",
    "\ue000abc", "{a}", "🦜", "…", "İ", "ß", "\u0301", " ".join("abcdefghijklmnopqrstuvwxyz" * 4),
    "x" * 256, "你" * 256, '"a' * 85,
]  # fmt: skip


async def test_no_query_is_an_error_but_an_empty_or_a_too_long_one(relay_app: RelayApp) -> None:
    await put(relay_app.relay, CALL)
    for q in HOSTILE:
        answer = await relay_app.client.get("/v1/search", params={"q": q})
        assert answer.status_code == 200, (q, answer.text)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "query.q"),
        ({"q": " "}, "query.q"),
        ({"q": "a" * (MAX_QUERY + 1)}, "query.q"),
        ({"q": "a", "limit": 0}, "query.limit"),
        ({"q": "a", "limit": 101}, "query.limit"),
        ({"q": "a", "speaker": "\0"}, "query.speaker.0"),
        ({"q": "a", "transcription_id": "x"}, "query.transcription_id"),
    ]
    for params, location in wrong:
        answer = await relay_app.client.get("/v1/search", params=params)
        assert answer.status_code == 400, params
        assert [each["location"] for each in answer.json()["validation_errors"]] == [location]
    answer = await relay_app.client.get("/v1/search", params={"q": "a", "cursor": "nonsense"})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_cursor")


letters = st.text(st.sampled_from("aAbBéÉßſİ 'ʼ-*\"你好が\u3099\u0301ก็ह्ि🦜½ﬁ\u200d\0"), max_size=12)  # noqa: RUF001


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said_texts=st.lists(letters | st.text(max_size=8), min_size=1, max_size=6), q=letters | st.text(max_size=8))
async def test_both_databases_find_exactly_the_passages_that_contain_the_words(
    relay_app: RelayApp, said_texts: list[str], q: str
) -> None:
    tokens = [spoken(said_text, 100 * n, speaker=str(n)) for n, said_text in enumerate(said_texts)]
    transcription_id = await put(relay_app.relay, document(tokens))
    phrases = parse(q)
    expected = [
        str(n)
        for n, said_text in enumerate(said_texts)
        if phrases and all(matches(composed(said_text), [phrase]) for phrase in phrases)
    ]
    found = await hits(relay_app, q, transcription_id=transcription_id) if q.strip() else []
    assert [hit["speaker"] for hit in found] == expected


@given(st.text() | letters)
def test_places_are_the_places_of_the_folded_words(said_text: str) -> None:
    whole = composed(said_text)
    found = list(places(whole))
    assert [place.word for place in found] == fold(said_text)
    edges = [edge for place in found for edge in (place.start, place.end)]
    assert edges == sorted(edges) or any(len(fold(character)) > 1 for character in whole)
    assert all(0 <= place.start < place.end <= len(whole) for place in found)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 900), st.sampled_from("12")), min_size=8, max_size=20),
    every=st.integers(10, 160),
)
def test_every_passage_names_the_tokens_that_its_words_are_in(lengths: list[tuple[int, str]], every: int) -> None:
    turns = [(speaker, n) for length, speaker in lengths for n in range(length)]
    tokens = [
        spoken(f" word{n}" + "." * (n % every == 0), 60 * n, speaker=speaker)
        for n, (speaker, _) in enumerate(turns)
    ]
    packed = asyncio.run(pack(json.dumps(document(tokens)).encode()))
    begins = list(accumulate((chunk.token_count for chunk in packed.chunks), initial=0))
    place = 0
    for passage in packed.passages:
        first = begins[passage.chunk] + passage.first_token
        theirs = tokens[first : first + passage.token_count]
        assert first == place
        assert 0 <= passage.first_token < packed.chunks[passage.chunk].token_count
        assert fold("".join(token["text"] for token in theirs)) == passage.words
        assert {token["speaker"] for token in theirs} == {passage.speaker}
        assert passage.spills == (first + passage.token_count > begins[passage.chunk + 1])
        place = first + passage.token_count
    assert place == len(tokens)
