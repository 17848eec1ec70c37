"""The time of publishing, read from messages as they stand in the queue."""

from __future__ import annotations

import json

import pytest

from autoscaler.worker.published_at import PUBLISHED_HEADER, oldest_age, published_at


def message(**headers):
    return json.dumps({"body": "", "headers": headers}).encode()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (message(**{PUBLISHED_HEADER: 12.5}), 12.5),
        (message(**{PUBLISHED_HEADER: True}), None),
        (message(**{PUBLISHED_HEADER: "12"}), None),
        (message(**{PUBLISHED_HEADER: 10**400}), None),
        (message(**{PUBLISHED_HEADER: float("nan")}), None),
        (message(**{PUBLISHED_HEADER: float("inf")}), None),
        (message(), None),
        (b"no json", None),
        (b"[]", None),
        (b"[" * 100_000, None),
    ],
)
def test_the_time_of_a_message_is_read_and_anything_else_is_unknown(stored, expected):
    assert published_at(stored) == expected


def test_the_oldest_of_several_messages_counts_and_a_clock_ahead_gives_no_negative_age():
    several = [message(**{PUBLISHED_HEADER: 7.0}), message(), message(**{PUBLISHED_HEADER: 4.0})]
    assert oldest_age(several, 10.0) == 6.0
    assert oldest_age(several, 1.0) == 0.0
    assert oldest_age([message()], 10.0) is None
