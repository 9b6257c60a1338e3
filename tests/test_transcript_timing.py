"""When tokens are spoken, which of them a filter keeps, which words they make, what they add up to."""

from typing import Any

import pytest

from service.transcripts.filters import TokenFilter
from service.transcripts.summary import Summary, Tally
from service.transcripts.tokens import Batch, effective_times, timed
from service.transcripts.words import words


def token(text: str, start_ms: int | None, end_ms: int | None = None, **more: Any) -> dict[str, Any]:
    end_ms = start_ms + 60 if end_ms is None and start_ms is not None else end_ms
    return {"text": text, "start_ms": start_ms, "end_ms": end_ms, "confidence": 0.9, **more}


def original(text: str, start_ms: int, **more: Any) -> dict[str, Any]:
    return token(text, start_ms, translation_status="original", language="en", **more)


def translation(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "language": "es", "translation_status": "translation", **more}


THANKS = [original("Thank", 450), original(" you.", 690)]


@pytest.mark.parametrize("times", [{}, {"start_ms": None, "end_ms": None}, {"start_ms": 0, "end_ms": 0}])
def test_translations_share_the_time_of_the_originals_before_them(times: dict[str, Any]) -> None:
    tokens = [
        token(" Hm", 30, translation_status="none"),
        *THANKS,
        translation("Gra", **times),
        translation("cia", **times),
    ]
    assert effective_times(Batch(tokens)) == ([30, 450, 690, 450, 600], [90, 510, 750, 600, 750])


def test_a_translation_that_has_times_keeps_them() -> None:
    assert timed([*THANKS, translation("Gracias", start_ms=500, end_ms=560)])[-1][1:] == (500, 560)


def test_a_translation_without_originals_has_no_time() -> None:
    assert timed([translation("Gracias", start_ms=0, end_ms=0)])[0][1:] == (None, None)
    assert timed([]) == []


def test_each_translation_belongs_to_the_run_right_before_it() -> None:
    tokens = [*THANKS, translation("Gracias"), original(" Bye", 9_000), translation("Adiós")]
    assert [item.start_ms for item in timed(tokens)] == [450, 690, 450, 9_000, 9_000]


def test_values_that_are_no_times_are_left_out() -> None:
    odd = [token("a", -5, 3), token("b", 2**31, 2**31), {"text": "c", "start_ms": "1", "end_ms": True}]
    assert effective_times(Batch(odd)) == ([None, None, None], [3, None, None])


TALK = [
    original(" one", 0, speaker="1"),
    original(" two", 1_000, speaker="2"),
    translation(" uno"),
    token(" three", 2_000, speaker="2", language="de", confidence=0.3),
]


@pytest.mark.parametrize(
    ("chosen", "texts"),
    [
        (TokenFilter(), " one two uno three"),
        (TokenFilter(from_ms=1_000), " two three"),
        (TokenFilter(from_ms=1_030), " two uno three"),
        (TokenFilter(to_ms=1_000), " one uno"),
        (TokenFilter(from_ms=900, to_ms=2_000), " two uno"),
        (TokenFilter(speakers=("2",)), " two three"),
        (TokenFilter(languages=("es", "de")), " uno three"),
        (TokenFilter(translation="original"), " one two three"),
        (TokenFilter(translation="translation"), " uno"),
        (TokenFilter(translation="translation", from_ms=0, to_ms=100), " uno"),
        (TokenFilter(max_confidence=0.5), " three"),
    ],
)
def test_a_filter_keeps_what_meets_all_its_conditions(chosen: TokenFilter, texts: str) -> None:
    tokens = TALK
    if chosen == TokenFilter(from_ms=1_000):
        tokens = [item for item in TALK if item.get("translation_status") != "translation"]
    assert "".join(item["text"] for item in chosen.apply(tokens)) == texts


@pytest.mark.parametrize("status", [{}, {"translation_status": None}, {"translation_status": "none"}])
def test_untranslated_speech_counts_as_original(status: dict[str, Any]) -> None:
    tokens = [token(" hello", 30, **status)]
    assert TokenFilter(translation="original").apply(tokens) == tokens
    assert TokenFilter(translation="translation").apply(tokens) == []


def spelled(tokens: list[dict[str, Any]]) -> list[str]:
    return [word.text for word in words(tokens)]


def test_a_leading_space_starts_a_word() -> None:
    made = words(
        [token("Hel", 690, speaker="1"), token("lo,", 870, confidence=0.7, speaker="1"), token(" this", 1_230)]
    )
    assert [(word.text, word.start_ms, word.end_ms) for word in made] == [
        ("Hello,", 690, 930),
        ("this", 1_230, 1_290),
    ]
    assert made[0].confidence == pytest.approx(0.8)
    assert (made[0].speaker, made[0].translation) == ("1", False)


def test_speakers_languages_and_translations_never_share_a_word() -> None:
    tokens = [token("a", 30, speaker="1"), token("b", 90, speaker="2"), translation("c")]
    assert spelled(tokens) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["今日", "は", "晴れ", "です", "。", "「", "はい", "」"], ["今日", "は", "晴れ", "です。", "「はい」"]),
        (["ดี", "มาก", "์"], ["ดี", "มาก์"]),
        (["한국", "어", " 말"], ["한국어", "말"]),
        (["a ", "b", " ", "", "c"], ["a", "b", "c"]),
        (["", " "], []),
    ],
)
def test_scripts_without_spaces_part_between_tokens(pieces: list[str], expected: list[str]) -> None:
    assert spelled([token(piece, 30 + 60 * n) for n, piece in enumerate(pieces)]) == expected


def summarised(*stretches: list[dict[str, Any]]) -> Summary:
    tally = Tally()
    for tokens in stretches:
        tally.add(Batch(tokens), *effective_times(Batch(tokens)))
    return tally.summary()


def about(number: float) -> Any:
    """Equal to whatever is near it; Any, since a `Summary` has numbers."""
    return pytest.approx(number)


def test_a_summary_counts_speech_and_leaves_translations_out() -> None:
    assert summarised(TALK) == Summary(
        duration_ms=2_060,
        words=3,
        speakers={"1": 60, "2": 1_060},
        languages={"en": 2, "de": 1},
        mean_confidence=about(0.7),
        low_confidence_share=about(1 / 3),
        token_count=4,
        translated=True,
    )


def test_a_summary_goes_on_from_stretch_to_stretch() -> None:
    whole = summarised(TALK)
    assert summarised(TALK[:1], TALK[1:]) == whole
    assert Summary.from_json(whole.to_json()) == whole


def test_long_pauses_are_not_talk() -> None:
    assert summarised([token(" a", 0, speaker="1"), token(" b", 5_000, speaker="1")]).speakers == {"1": 120}


def test_words_are_counted_as_they_are_grouped() -> None:
    for texts in ([" Hel", "lo", " you", "."], ["今日", "は", "。"], []):
        tokens = [token(text, 30) for text in texts]
        assert (summarised(tokens) if tokens else Summary()).words == len(words(tokens))


def test_the_summary_of_nothing_is_empty() -> None:
    assert Tally().summary() == Summary()
