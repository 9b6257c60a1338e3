"""The dashboard's pictures and sentences, worked out without any I/O."""

import json
import random
import shlex
from typing import Any

import pytest

from service.dashboard.charts import WINDOWS, Outcomes, edges_of, grid_row
from service.dashboard.explain import JobFacts, why_not_done
from service.dashboard.job import as_curl, request_of, without_secrets
from service.dashboard.timeline import MIN_WIDTH, Axis, chart_of
from service.dashboard.transcript_view import speaker_lanes, transcript_rows
from service.lifecycle import DeliveryStatus, Stage
from service.tables import Delivery, TimelineEntry, Transcription, Webhook
from service.transcripts.search_terms import parse
from service.transcripts.tokens import timed
from tests.support.transcripts import said

NOON = 1_800_000_000_000
HOUR = 3_600_000


def step(name: str, at_ms: int, **more: Any) -> TimelineEntry:
    values: dict[str, Any] = {"transcription_id": "t", "at_ms": NOON + at_ms, "step": name, "source": "worker"}
    return TimelineEntry(**values | more)


def a_job(**fields: Any) -> Transcription:
    values: dict[str, Any] = {
        "id": "job",
        "owner": "key_1",
        "created_at_ms": NOON,
        "filename": "a.wav",
        "model": "stt-async-v5",
    }
    return Transcription(**values | fields)


def a_delivery(**fields: Any) -> Delivery:
    values: dict[str, Any] = {
        "id": "dlv",
        "event_id": "evt",
        "owner": "key_1",
        "receiver": "ep_1",
        "created_at_ms": NOON,
    }
    return Delivery(**values | {"endpoint_id": "ep_1"} | fields)


def a_hint(**fields: Any) -> Webhook:
    values: dict[str, Any] = {"id": "w", "soniox_id": "s", "status": "completed", "source": "webhook"}
    return Webhook(**values | {"received_at_ms": NOON, "last_seen_at_ms": NOON} | fields)


LIFE = [
    step("accepted", 0, source="api"),
    step("submission_postponed", 100, http_status=503, detail="Soniox is down"),
    step("submitted", 1_050, duration_ms=50, http_status=201),
    step("webhook_received", 9_000, source="webhook", http_status=200),
    step("transcript_fetched", 9_100, duration_ms=80, http_status=200),
    step("completed", 9_100, source="webhook"),
    step("delivery_pending", 9_130, duration_ms=30, http_status=500, detail="ep_1: the receiver answered 500"),
    step("delivered", 10_000, duration_ms=20, http_status=200),
]


def test_a_finished_job_is_drawn_from_accepted_to_each_delivery_with_code_and_duration() -> None:
    chart = chart_of(LIFE, NOON, NOON + HOUR)
    told_of = [(line.title, line.code, line.duration_ms, line.tone) for line in chart.lines]
    assert told_of == [
        ("Accepted", None, None, "note"),
        ("Create at Soniox, postponed", 503, None, "bad"),
        ("Create at Soniox", 201, 50, "good"),
        ("Webhook from Soniox", 200, None, "note"),
        ("Fetch the transcript", 200, 80, "good"),
        ("Stored", None, None, "good"),
        ("Delivery, to be tried again", 500, 30, "bad"),
        ("Delivery", 200, 20, "good"),
    ]
    assert [(phase.title, phase.duration_ms) for phase in chart.phases] == [
        ("Waiting here", 1_000),
        ("At Soniox", 8_000),
        ("Collecting the result", 100),
    ]
    assert chart.to_scale
    (create,) = chart.lines[2].bars
    assert (create.x, create.width) == (10.0, 0.5)
    assert [tick.label for tick in chart.ticks] == ["0", "+2.5 s", "+5.0 s", "+7.5 s", "+10 s"]


def test_an_unfinished_phase_reaches_to_now_and_a_second_attempt_waits_again() -> None:
    chart = chart_of(LIFE[:3], NOON, NOON + 20_000)
    (bar,) = chart.phases[1].bars
    assert (bar.x, bar.x + bar.width) == (5.0, 100.0)
    failed = [*LIFE[:3], step("failed", 2_000, detail="no"), step("retry", 5_000, source="api")]
    again = chart_of(failed, NOON, NOON + 6_000)
    assert [bar.x for bar in again.phases[0].bars] == [0.0, pytest.approx(83.333)]


def test_a_webhook_that_overtakes_the_answer_to_create_draws_nothing_backwards() -> None:
    early = [LIFE[0], step("webhook_received", 900, source="webhook"), step("submitted", 1_000, duration_ms=400)]
    chart = chart_of([*early, step("completed", 1_200)], NOON, NOON + HOUR)
    bars = [bar for line in [*chart.phases, *chart.lines] for bar in line.bars]
    assert all(bar.x >= 0 and bar.width >= MIN_WIDTH and bar.x + bar.width <= 100.001 for bar in bars)


def test_days_of_retries_leave_the_quick_calls_visible() -> None:
    late = [step("delivery_pending", 9_200 + n * 24 * HOUR, duration_ms=40) for n in range(1, 5)]
    chart = chart_of([*LIFE[:7], *late], NOON, NOON + 99 * HOUR)
    assert not chart.to_scale
    (stay,) = chart.phases[1].bars
    assert stay.width > 2
    assert chart.ticks[-1].label.endswith("d")


def test_an_axis_keeps_the_order_of_all_moments() -> None:
    chance = random.Random(7)
    moments = [chance.randrange(10**9) for _ in range(200)]
    axis = Axis.over(moments)
    places = [axis.x(moment) for moment in sorted(moments)]
    assert places == sorted(places)
    assert (places[0], places[-1], axis.x(-5), axis.x(10**10)) == (0, 100, 0, 100)
    assert Axis.over([5]).x(5) == 0


WAITING: list[tuple[str, JobFacts]] = [
    (
        "No worker has ever started, so nothing is being done: run `soniox-relay worker`.",
        JobFacts(a_job(), NOON, silent_ms=None),
    ),
    (
        "No worker has given a sign of life for 2 min, so nothing is being done.",
        JobFacts(a_job(), NOON, silent_ms=120_000),
    ),
    (
        "It waits here because work for Soniox is parked: 401 unauthenticated: Invalid API key.",
        JobFacts(a_job(), NOON, trouble="401 unauthenticated: Invalid API key."),
    ),
    (
        "It waits here until there is room: as many jobs as the quotas allow are at Soniox already.",
        JobFacts(a_job(), NOON, room=False),
    ),
    (
        "It waits for its next try, in 4.0 s. The last try came to: Soniox is down.",
        JobFacts(a_job(due_at_ms=NOON + 4_000, last_error="Soniox is down"), NOON),
    ),
    ("It is next in line to be sent to Soniox, due for 300 ms.", JobFacts(a_job(due_at_ms=NOON - 300), NOON)),
    (
        "A worker (box:1) is sending it to Soniox right now.",
        JobFacts(a_job(stage=Stage.SUBMITTING, leased_by="box:1", lease_until_ms=NOON + 1), NOON),
    ),
    (
        "Soniox's answer to the create was lost; in 5.0 s its list is searched before anything is sent again.",
        JobFacts(a_job(stage=Stage.SUBMITTING, unsettled=True, due_at_ms=NOON + 5_000), NOON),
    ),
    (
        "The worker that was sending it has stopped; another one takes it over and looks at Soniox first.",
        JobFacts(a_job(stage=Stage.SUBMITTING, lease_until_ms=NOON - 1), NOON),
    ),
    (
        "Soniox has been transcribing it for 30 s; without a webhook the reconciler asks in 15 s.",
        JobFacts(
            a_job(
                stage=Stage.SUBMITTED,
                soniox_status="processing",
                submitted_at_ms=NOON - 30_000,
                check_at_ms=NOON + 15_000,
            ),
            NOON,
        ),
    ),
    (
        "Soniox has had it in its queue for 30 s; without a webhook the reconciler asks with its next sweep."
        " Our webhook answered Soniox 401.",
        JobFacts(
            a_job(
                stage=Stage.SUBMITTED,
                soniox_status="queued",
                submitted_at_ms=NOON - 30_000,
                webhook_status_code=401,
            ),
            NOON,
        ),
    ),
    (
        "Soniox's webhook said `completed`, and a worker is fetching the result right now.",
        JobFacts(a_job(stage=Stage.SUBMITTED), NOON, hint=a_hint(lease_until_ms=NOON + 1)),
    ),
    (
        "The reconciler found `gone`, but the last look said: Soniox does not have it; the next look is in 2.0 s.",
        JobFacts(
            a_job(stage=Stage.SUBMITTED),
            NOON,
            hint=a_hint(
                status="gone", source="reconciler", last_error="Soniox does not have it", due_at_ms=NOON + 2_000
            ),
        ),
    ),
    (
        "Soniox's webhook said `completed`; the result is about to be fetched.",
        JobFacts(a_job(stage=Stage.SUBMITTED), NOON, hint=a_hint()),
    ),
    (
        "It failed and is not retried automatically (invalid_audio_file): Invalid audio file.",
        JobFacts(
            a_job(stage=Stage.FAILED, error_type="invalid_audio_file", error_message="Invalid audio file"),
            NOON,
            silent_ms=None,
        ),
    ),
    (
        "The transcript is stored; endpoint ep_1 is tried again in 30 s: the receiver answered 500.",
        JobFacts(
            a_job(stage=Stage.COMPLETED),
            NOON,
            deliveries=[a_delivery(due_at_ms=NOON + 30_000, last_error="the receiver answered 500")],
        ),
    ),
    (
        "The transcript is stored; its notification is held because endpoint ep_1 is paused or disabled.",
        JobFacts(a_job(stage=Stage.COMPLETED), NOON, deliveries=[a_delivery()], disabled=frozenset({"ep_1"})),
    ),
    (
        "The transcript is stored, but the caller's webhook_url never took the notification: connection refused.",
        JobFacts(
            a_job(stage=Stage.COMPLETED),
            NOON,
            deliveries=[
                a_delivery(),
                a_delivery(status=DeliveryStatus.EXHAUSTED, endpoint_id=None, last_error="connection refused"),
            ],
        ),
    ),
]


@pytest.mark.parametrize(("sentence", "seen"), WAITING, ids=range(len(WAITING)))
def test_why_it_is_not_done_is_told_in_one_sentence(sentence: str, seen: JobFacts) -> None:
    assert why_not_done(seen) == sentence


def test_nothing_is_told_of_a_job_that_everybody_has() -> None:
    delivered = a_delivery(status=DeliveryStatus.DELIVERED)
    assert why_not_done(JobFacts(a_job(stage=Stage.COMPLETED), NOON, deliveries=[delivered])) is None


def test_every_stage_has_a_sentence() -> None:
    for stage in set(Stage) - {Stage.COMPLETED}:
        assert why_not_done(JobFacts(a_job(stage=stage), NOON))


def test_speakers_have_lanes_that_end_where_another_begins_or_the_words_do() -> None:
    heard = [(0, "1", 100), (30_000, "2", 50), (80_000, "1", 10), (80_000, "2", 5)]
    lanes = speaker_lanes(heard, 100_000, {"1": 40_000, "2": 60_000})
    assert [(lane.speaker, lane.share) for lane in lanes] == [("2", 60), ("1", 40)]
    assert lanes[0].stretches == ((30.0, 55.0),)
    assert lanes[1].stretches == ((0.0, 30.0), (80.0, 10.0))
    assert speaker_lanes([], 0, {}) == []


def test_a_long_talk_makes_few_stretches() -> None:
    heard = [(n * 2_000, str(n // 20 % 2), 5) for n in range(9_000)]
    lanes = speaker_lanes(heard, 18_000_000, {"0": 1, "1": 1})
    assert sum(len(lane.stretches) for lane in lanes) <= 450


def test_the_grid_says_of_each_step_how_many_were_delivered() -> None:
    edges = edges_of(WINDOWS["24h"], NOON + 5)
    assert (len(edges), edges[-1] - edges[0]) == (25, 24 * HOUR)
    assert edges[-2] <= NOON + 5 < edges[-1]
    tallies = {0: Outcomes(9, 0, 3), 1: Outcomes(2, 1, 0), 2: Outcomes(0, 4, 0), 3: Outcomes(0, 0, 2)}
    cells = grid_row(edges, tallies)
    assert [(cell.rate, cell.tone) for cell in cells[:5]] == [
        (100, "good"),
        (66, "mixed"),
        (0, "bad"),
        (None, "open"),
        (None, "none"),
    ]


def test_turns_stand_beside_their_translation() -> None:
    original, translation = {"translation_status": "original"}, {"translation_status": "translation"}
    tokens = [
        *said("Good morning", 0, speaker="1", language="en", **original),
        *said("Guten Morgen", 0, speaker="1", language="de", **translation),
        *said("How are you", 3_000, speaker="1", language="en", **original),
        *said("Wie geht es", 3_000, speaker="1", language="de", **translation),
        *said("Fine", 6_000, speaker="2", language="en"),
        *said("bien sûr", 7_000, speaker="2", language="fr"),
    ]
    rows = transcript_rows(timed(tokens), parse("morning"))
    shown = [(row.speaker, row.goes_on, [s.language for s in row.said], bool(row.translated)) for row in rows]
    assert shown == [("1", False, ["en"], True), ("1", True, ["en"], True), ("2", False, ["en", "fr"], False)]
    assert [(piece.text, piece.hit) for piece in rows[0].said[0].pieces] == [(" Good", False), (" morning", True)]
    assert rows[0].said[0].pieces[0].confidence == 0.99
    assert [row.start_ms for row in rows] == [0, 3_000, 6_000]


def test_a_match_over_several_tokens_marks_them_all() -> None:
    tokens = [*said("the bud", 0), *[{**token, "text": "get"} for token in said("x", 600)], *said("is <b>", 900)]
    (row,) = transcript_rows(timed(tokens), parse("budget"))
    assert [piece.text for piece in row.said[0].pieces if piece.hit] == [" bud", "get"]


def test_curl_never_has_a_secret_in_it() -> None:
    job = a_job(
        request={
            "model": "stt-async-v5",
            "audio_url": "https://user:hunter2@media.example.com/a'b.mp3?X-Amz-Signature=abcdef&part=7",
        },
        callback_url="https://me.example.com/hook?token=verysecret",
        callback_header="X-Mine",
        callback_secret_encrypted="sealed-secret",
        caller_metadata={"note": "it's; rm -rf /"},
    )
    command = as_curl(job, "https://relay.example.com")
    for secret in ("hunter2", "abcdef", "verysecret", "sealed"):
        assert secret not in command
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["curl", "https://relay.example.com/v1/transcriptions"]
    assert words[3] == "Authorization: Bearer $RELAY_API_KEY"
    assert json.loads(words[-1]) == request_of(job)
    assert json.loads(words[-1])["metadata"] == {"note": "it's; rm -rf /"}


def test_an_address_keeps_what_is_no_secret() -> None:
    assert without_secrets("https://a.example/x.mp3") == "https://a.example/x.mp3"
    assert without_secrets("https://a.example/x?part=7&lang=de") == "https://a.example/x?part=7&lang=de"
    assert without_secrets("https://a.example/x?k=" + "a1" * 20) == "https://a.example/x?k=***"
