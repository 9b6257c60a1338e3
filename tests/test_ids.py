"""Ids: UUIDs of version 7, sorted by time, never twice."""

import uuid

import pytest

from service.ids import is_uuid, new_id, new_uuid

NOW_MS = 1_732_060_800_000


def test_a_new_uuid_is_of_version_7_and_carries_its_moment() -> None:
    made = uuid.UUID(new_uuid(NOW_MS))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == NOW_MS


def test_ids_sort_by_time_as_text() -> None:
    ids = [new_uuid(NOW_MS + step) for step in (0, 1, 255, 256, 65_536, 10**9)]
    assert ids == sorted(ids)


def test_ids_of_one_millisecond_differ() -> None:
    assert len({new_uuid(NOW_MS) for _ in range(20_000)}) == 20_000


def test_an_id_with_a_prefix_holds_no_full_stop() -> None:
    made = new_id("evt", NOW_MS)
    prefix, rest = made.split("_")
    assert prefix == "evt"
    assert uuid.UUID(rest).version == 7
    assert "." not in made  # the webhook signature separates with it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("84c32fc6-4fb5-4e7a-b656-b5ec70493753", True),
        ("84C32FC6-4FB5-4E7A-B656-B5EC70493753", True),
        ("84c32fc64fb54e7ab656b5ec70493753", False),
        ("{84c32fc6-4fb5-4e7a-b656-b5ec70493753}", False),
        ("urn:uuid:84c32fc6-4fb5-4e7a-b656-b5ec70493753", False),
        ("84c32fc6-4fb5-4e7a-b656-b5ec7049375", False),
        ("84c32fc6-4fb5-4e7a-b656-b5ec7049375g", False),
        ("../../v1/files", False),
        ("", False),
    ],
)
def test_only_the_canonical_form_is_a_uuid(text: str, expected: bool) -> None:
    assert is_uuid(text) is expected
