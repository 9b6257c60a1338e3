"""Subtitles keep to what broadcasters ask, and other programs read them."""

import random
from itertools import pairwise
from typing import Any

import pysubs2
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from service.transcripts.exports import Format, render
from service.transcripts.filters import RenderOptions, TokenFilter
from service.transcripts.subtitles import Cue, cues_of
from service.transcripts.tokens import timed


def token(text: str, start_ms: int, **more: Any) -> dict[str, Any]:
    return {"text": text, "start_ms": start_ms, "end_ms": start_ms + 60, "confidence": 0.9, **more}


def said(text: str, start_ms: int = 30, every_ms: int = 300, **more: Any) -> list[dict[str, Any]]:
    """One token a word, the next one `every_ms` later."""
    return [token(f" {word}", start_ms + n * every_ms, **more) for n, word in enumerate(text.split())]


def cues(tokens: list[dict[str, Any]], **options: Any) -> list[Cue]:
    return list(cues_of(timed(tokens), RenderOptions(**options)))


def shown(tokens: list[dict[str, Any]], **options: Any) -> list[str]:
    return ["|".join(cue.lines) for cue in cues(tokens, **options)]


def assert_well_laid_out(made: list[Cue]) -> None:
    free_ms = 0
    for cue in made:
        assert free_ms <= cue.start_ms < cue.end_ms <= cue.start_ms + 7_000
        assert 1 <= len(cue.lines) <= 2
        assert all(len(line) <= 42 and line == line.strip() != "" for line in cue.lines)
        free_ms = cue.end_ms


pieces = st.tuples(
    st.sampled_from(
        [" a", " whole", "some", " sentence.", " Why?", ",", " well,", " extraordinarily", "ly", "日本", "。"]
    ),
    st.integers(0, 40).map(lambda units: units * 60),
    st.sampled_from(["1", "1", "1", "2"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=80))
def test_any_speech_makes_cues_that_fit_and_lose_no_word(speech: list[tuple[str, int, str]]) -> None:
    clock_ms, tokens = 30, []
    for text, gap_ms, speaker in speech:
        clock_ms += 60 + gap_ms
        tokens.append(token(text, clock_ms, speaker=speaker))
    made = cues(tokens)
    everything = "".join("".join(cue.lines) for cue in made).replace(" ", "")
    assert everything == "".join(text for text, _, _ in speech).replace(" ", "")
    for cue, following in pairwise(made):
        assert cue.end_ms <= following.start_ms
    assert all(len(cue.lines) <= 2 and cue.end_ms - cue.start_ms <= 7_000 for cue in made)
    assert all(len(line) <= 42 or " " not in line for cue in made for line in cue.lines)


def lecture(words: int) -> list[dict[str, Any]]:
    dice = random.Random(3)
    made, clock_ms, speaker = [], 30, "1"
    for _ in range(words):
        ends = dice.choice(["", "", "", "", "", ",", "."])
        made.append(token(f" {'x' * dice.randint(1, 9)}", clock_ms, speaker=speaker))
        made.append(token(f"y{ends}", clock_ms + 120, speaker=speaker))
        clock_ms += dice.choice([300, 360, 420, 480]) + (900 if ends else 0)
        if dice.random() < 0.02:
            speaker, clock_ms = dice.choice("12"), clock_ms + 2_000
    return made


def test_a_lecture_can_be_read_in_comfort() -> None:
    made = cues(lecture(3_000))
    assert_well_laid_out(made)
    speeds = [sum(map(len, cue.lines)) * 1000 / (cue.end_ms - cue.start_ms) for cue in made]
    comfortable = [speed <= 17.5 for speed in speeds]
    assert sum(comfortable) / len(made) > 0.9
    assert sum(cue.end_ms - cue.start_ms >= 1_000 for cue in made) / len(made) > 0.99


def test_speaker_pause_and_sentence_each_begin_a_cue() -> None:
    tokens = [
        *said("This one is about bread.", 0),
        *said("This is about wine.", 1_600),
        *said("After a pause", 5_000),
        *said("another speaker.", 6_000, speaker="2"),
    ]
    assert shown(tokens) == [
        "This one is about bread.",
        "This is about wine.",
        "After a pause",
        "another speaker.",
    ]


def test_a_sentence_too_short_to_read_is_shown_with_its_neighbour() -> None:
    assert shown(said("Yes. I will be there.")) == ["Yes. I will be there."]


def test_no_word_is_torn() -> None:
    tokens = [token(text, 30 + 90 * n) for n, text in enumerate([" ex", "tra", "ordi", "nary"] * 12)]
    assert {word for cue in cues(tokens) for line in cue.lines for word in line.split()} == {"extraordinary"}


def test_scripts_without_spaces_break_between_tokens() -> None:
    made = cues([token("漢字", 30 + 120 * n) for n in range(100)])
    assert_well_laid_out(made)
    assert sum(len(line) for cue in made for line in cue.lines) == 200


def test_a_long_sentence_is_divided_after_a_clause() -> None:
    tokens = said("When the rain finally stopped in the evening and the streets were dry again, "
                  "everybody went out to the old market square to hear the music.", every_ms=250)  # fmt: skip
    assert shown(tokens)[0].endswith("dry again,")


def test_lines_of_a_cue_have_about_the_same_length() -> None:
    (cue,) = cues(said("one two three four five six seven eight nine ten", every_ms=200))
    assert abs(len(cue.lines[0]) - len(cue.lines[1])) <= 6


def test_a_cue_stays_in_silence_until_it_is_read() -> None:
    text = "Extraordinarily complicated circumstances."
    (cue,) = cues(said(text, every_ms=100))
    assert (cue.end_ms - cue.start_ms) >= len(text) / 17 * 1000
    (short,) = cues([token("No.", 30)])
    assert (short.start_ms, short.end_ms) == (30, 1_030)


def test_a_cue_ends_when_the_next_one_begins() -> None:
    first, second = cues([token("No.", 0, speaker="1"), token(" Yes.", 480, speaker="2")])
    assert (first.end_ms, second.start_ms) == (480, 480)


BILINGUAL = [
    *said("Thank you all.", 450, translation_status="original", language="en"),
    *[
        {"text": text, "start_ms": 0, "end_ms": 0, "translation_status": "translation"}
        for text in (" Gracias", " a todos.")
    ],
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["Thank you all."]),
        ({"stream": "translation"}, ["Gracias a todos."]),
        ({"chosen": TokenFilter(translation="translation")}, ["Gracias a todos."]),
        ({"stream": "both"}, ["Thank you all.", "Gracias a todos."]),
    ],
)
def test_the_stream_is_chosen(options: dict[str, Any], expected: list[str]) -> None:
    assert shown(BILINGUAL, **options) == expected
    assert {cue.start_ms for cue in cues(BILINGUAL, **options)} == {450}


def test_tokens_without_times_follow_the_one_before() -> None:
    made = cues([*said("First words.", 3_000), {"text": " Then."}, {"text": " More.", "start_ms": None}])
    assert [(cue.start_ms, cue.lines) for cue in made] == [(3_000, ["First words. Then. More."])]


def test_times_that_run_backwards_make_no_overlap() -> None:
    made = cues([token(f" w{n}.", 60_000 - 2_000 * n, speaker=str(n)) for n in range(20)])
    assert_well_laid_out(made)
    assert len(made) == 20


def test_layout_options_are_kept() -> None:
    made = cues(lecture(300), max_chars=30, max_lines=1, max_duration_ms=3_000)
    assert all(len(cue.lines) == 1 and len(cue.lines[0]) <= 30 for cue in made)
    assert max(cue.end_ms - cue.start_ms for cue in made) <= 3_000


def test_pysubs2_reads_the_srt_as_it_was_meant() -> None:
    tokens = lecture(400)
    read = pysubs2.SSAFile.from_string(render(Format.SRT, tokens), format_="srt")
    assert [(line.start, line.end, line.plaintext) for line in read] == [
        (cue.start_ms, cue.end_ms, "\n".join(cue.lines)) for cue in cues(tokens)
    ]


def test_webvtt_reads_the_vtt_as_it_was_meant() -> None:
    tokens = lecture(400)
    read = webvtt.from_string(render(Format.VTT, tokens))
    assert [(caption.text, caption.voice) for caption in read.captions] == [
        ("\n".join(cue.lines), f"Speaker {cue.speaker}") for cue in cues(tokens)
    ]
    assert read[0].start == "00:00:00.030"


def test_markup_in_speech_is_only_text() -> None:
    tokens = [token("<b>R&D --> now", 30, speaker="1>x")]
    assert "<v Speaker 1&gt;x>&lt;b&gt;R&amp;D --&gt; now\n" in render(Format.VTT, tokens)
    assert render(Format.SRT, tokens) == "1\n00:00:00,030 --> 00:00:01,030\n<b>R&D -> now\n\n"


def test_hours_are_written_out() -> None:
    assert "05:00:00,030 --> 05:00:01,030" in render(Format.SRT, [token("Late.", 18_000_030)])
