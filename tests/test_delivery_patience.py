"""When the next try is due: never before the schedule says, never before the receiver says, whatever it says."""

import datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.downstream.client import MAX_RETRY_AFTER_S, Outcome
from service.downstream.retry_policy import DISABLE_AFTER_MS, JITTER, MAX_PAUSE_MS, DeliveryHistory, decide
from service.http_client import retry_after_s
from service.lifecycle import DeliveryStatus

NOW_MS = 1_800_000_000_000
NOW = datetime.datetime.fromtimestamp(NOW_MS / 1000, datetime.UTC)
NEW = DeliveryHistory(tries=0, failures=0, failing_since_ms=None, may_be_disabled=True)

codes = st.one_of(st.none(), st.integers(100, 999), st.sampled_from([200, 410, 429, 503]))
schedules = st.lists(st.floats(0, 100_000), min_size=1, max_size=17)
asked = st.one_of(st.none(), st.floats(0, MAX_RETRY_AFTER_S))
chances = st.floats(0, 1)


@given(codes, schedules, asked, chances, st.integers(0, 20), st.integers(0, 10_000))
def test_no_try_is_earlier_than_the_schedule_and_the_receiver_allow(
    code: int | None, schedule: list[float], retry_after: float | None, chance: float, tries: int, failures: int
) -> None:
    outcome = Outcome(code, None, 5, retry_after_s=retry_after)
    past = DeliveryHistory(tries, failures, NOW_MS - 1 if failures else None, may_be_disabled=True)
    verdict = decide(outcome, past, ended_ms=NOW_MS, schedule=schedule, chance=chance)
    if outcome.delivered:
        assert verdict.status is DeliveryStatus.DELIVERED
    elif code == 410:
        assert (verdict.status, verdict.due_at_ms, bool(verdict.disable)) == (DeliveryStatus.PENDING, None, True)
    elif tries >= len(schedule):
        assert (verdict.status, verdict.due_at_ms) == (DeliveryStatus.EXHAUSTED, None)
    else:
        wait_ms = (verdict.due_at_ms or 0) - NOW_MS
        longest_ms = max(schedule[tries] * (1 + JITTER), retry_after or 0) * 1000
        assert max(schedule[tries], retry_after or 0) * 1000 - 1 <= wait_ms <= longest_ms + 1
        pause_ms = (verdict.circuit_open_until_ms or NOW_MS) - NOW_MS
        assert 0 <= pause_ms <= min(wait_ms, MAX_PAUSE_MS)


@pytest.mark.parametrize(
    ("failing_ms", "failures", "may_be_disabled", "disabled"),
    [
        (DISABLE_AFTER_MS, 5, True, True),
        (DISABLE_AFTER_MS - 1, 50, True, False),
        (DISABLE_AFTER_MS, 4, True, False),
        (DISABLE_AFTER_MS * 2, 50, False, False),
    ],
)
def test_only_an_endpoint_that_did_nothing_but_fail_for_long_is_disabled(
    failing_ms: int, failures: int, may_be_disabled: bool, disabled: bool
) -> None:
    past = DeliveryHistory(0, failures, NOW_MS - failing_ms, may_be_disabled)
    verdict = decide(Outcome(500, None, 5), past, ended_ms=NOW_MS, schedule=[1.0], chance=0)
    assert verdict.disable == ("nothing but failures for 5 days" if disabled else None)
    assert verdict.status is DeliveryStatus.PENDING  # held, not given up


def test_a_receiver_that_asks_for_two_minutes_gets_them() -> None:
    verdict = decide(Outcome(503, None, 5, retry_after_s=120), NEW, ended_ms=NOW_MS, schedule=[5.0], chance=0)
    assert verdict.due_at_ms == NOW_MS + 120_000


def test_an_endpoint_that_says_410_is_disabled_at_once() -> None:
    verdict = decide(Outcome(410, None, 5), NEW, ended_ms=NOW_MS, schedule=[1.0], chance=0)
    assert (verdict.status, verdict.disable) == (DeliveryStatus.PENDING, "the receiver answered 410 Gone")


def test_a_callback_that_says_410_is_given_up() -> None:
    past = DeliveryHistory(0, 0, None, may_be_disabled=False)
    verdict = decide(Outcome(410, None, 5), past, ended_ms=NOW_MS, schedule=[1.0], chance=0)
    assert (verdict.status, verdict.disable) == (DeliveryStatus.EXHAUSTED, None)


def test_one_failure_closes_nothing() -> None:
    verdict = decide(Outcome(500, None, 5), NEW, ended_ms=NOW_MS, schedule=[3600.0], chance=0)
    assert verdict.circuit_open_until_ms is None


def test_a_receiver_is_left_alone_for_longer_and_longer() -> None:
    pauses = []
    for failures in range(14):
        past = DeliveryHistory(0, failures, NOW_MS, may_be_disabled=True)
        verdict = decide(Outcome(500, None, 5), past, ended_ms=NOW_MS, schedule=[3600.0], chance=0)
        pauses.append(((verdict.circuit_open_until_ms or NOW_MS) - NOW_MS) / 1000)
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_wait_grows_by_a_tenth_at_most_and_five_days_are_the_limit() -> None:
    verdict = decide(Outcome(500, None, 5), NEW, ended_ms=NOW_MS, schedule=[100.0], chance=1)
    assert verdict.due_at_ms == NOW_MS + 110_000
    assert DISABLE_AFTER_MS == 432_000_000


@given(st.integers(0, 10**12))
def test_seconds_are_taken_as_they_are_up_to_a_day(seconds: int) -> None:
    assert retry_after_s(str(seconds), NOW, MAX_RETRY_AFTER_S) == min(seconds, MAX_RETRY_AFTER_S)


@given(st.integers(-(10**8), 10**8))
def test_dates_are_taken_as_they_are_up_to_a_day(seconds: int) -> None:
    header = format_datetime(NOW + datetime.timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s(header, NOW, MAX_RETRY_AFTER_S) == min(max(seconds, 0), MAX_RETRY_AFTER_S)


@given(st.text())
def test_no_text_in_retry_after_raises(text: str) -> None:
    found = retry_after_s(text, NOW, MAX_RETRY_AFTER_S)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S
