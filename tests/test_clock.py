"""Time: even, in milliseconds, written as Soniox writes it."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from service.clock import iso, steady_clock, wall_ms


def test_the_clock_begins_at_the_given_moment_and_runs_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 7_000_000_000
    monkeypatch.setattr("service.clock.time", SimpleNamespace(monotonic_ns=lambda: now_ns))
    clock = steady_clock(1_700_000_000_000)
    assert clock() == 1_700_000_000_000
    now_ns += 50_000_000
    assert clock() == 1_700_000_000_050


def test_a_wall_clock_that_is_set_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = steady_clock(wall_ms())
    before = clock()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock() < before + 1_000


def test_wall_time_is_counted_from_1970() -> None:
    assert abs(datetime.now(UTC).timestamp() * 1000 - wall_ms()) < 2_000


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_732_060_800_007, "2024-11-20T00:00:00.007Z"),
        (1_732_060_800_999, "2024-11-20T00:00:00.999Z"),
    ],
)
def test_moments_are_written_in_utc_with_milliseconds_and_z(at_ms: int, text: str) -> None:
    assert iso(at_ms) == text
    assert datetime.fromisoformat(text).timestamp() * 1000 == pytest.approx(at_ms)


def test_no_moment_stays_none() -> None:
    assert iso(None) is None
