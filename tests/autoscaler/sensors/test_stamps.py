"""A publishing time that cannot be true is not used, and it is said."""

from __future__ import annotations

import json

import pytest

from autoscaler.sensors.stamps import DISTRUST_SECONDS, StampCheck
from autoscaler.worker.published_at import PUBLISHED_HEADER


def message(stamp=None, **headers):
    if stamp is not None:
        headers[PUBLISHED_HEADER] = stamp
    return json.dumps({"headers": headers}).encode()


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (None, (None, True)),
        (1009.0, (1.0, True)),
        (1030.0, (0.0, True)),  # half a minute off is no matter
        (960.0, (50.0, True)),
        (1610.0, (None, False)),  # ten minutes ahead
        (410.0, (None, False)),  # ten minutes behind
    ],
)
def test_a_message_is_not_older_than_its_queue_and_not_from_the_future(stamp, expected):
    check = StampCheck()
    assert check.oldest_age("q", 0, [], 1000.0) == (None, True)
    assert check.oldest_age("q", 1, [message(stamp)], 1010.0) == expected


def test_an_old_message_is_believed_where_the_queue_was_never_seen_empty():
    assert StampCheck().oldest_age("q", 1, [message(10.0)], 1010.0) == (1000.0, True)


def test_a_message_that_came_back_may_be_older_than_its_queue():
    check = StampCheck()
    check.oldest_age("q", 0, [], 1000.0)
    assert check.oldest_age("q", 1, [message(10.0, redelivered=True)], 1010.0) == (1000.0, True)


def test_distrust_lasts_and_ends_and_concerns_one_queue():
    check = StampCheck()
    check.oldest_age("q", 1, [message(9999.0)], 1000.0)
    assert check.oldest_age("q", 1, [message(1005.0)], 1010.0) == (None, False)
    assert check.oldest_age("p", 1, [message(1005.0)], 1010.0) == (5.0, True)
    at = 1000.0 + DISTRUST_SECONDS
    assert check.oldest_age("q", 1, [message(at - 3)], at) == (3.0, True)
    check.keep([])
    assert check.oldest_age("q", 1, [message(1.0)], at) == (at - 1, True)
