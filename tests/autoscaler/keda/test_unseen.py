"""A queue that becomes shorter by nobody who is seen: for a while what runs is not known."""

from __future__ import annotations

import pytest

from autoscaler.keda.unseen import Taken, follow


@pytest.mark.parametrize(
    ("before", "depth", "consumed_at", "expected"),
    [
        pytest.param(None, 3, None, Taken(100.0, 3, 3), id="the first question"),
        pytest.param(Taken(98.0, 3, 3), 3, None, Taken(100.0, 3, 3), id="nothing was taken"),
        pytest.param(Taken(98.0, 3, 3), 1, None, Taken(100.0, 1, 3, 100.0), id="somebody took two"),
        pytest.param(
            Taken(98.0, 1, 3, 90.0), 2, None, Taken(100.0, 2, 3, 90.0), id="what came since changes nothing"
        ),
        pytest.param(Taken(98.0, 1, 3, 90.0), 0, 99.0, Taken(100.0, 0, 0), id="a worker is seen by now"),
        pytest.param(Taken(98.0, 3, 3), 1, 40.0, Taken(100.0, 1, 1), id="one was seen until lately"),
        pytest.param(Taken(98.0, 3, 3), 1, 37.0, Taken(100.0, 1, 3, 100.0), id="one was seen long ago"),
        pytest.param(Taken(98.0, 0, 3, -500.0), 0, None, Taken(100.0, 0, 0), id="ten minutes are over"),
    ],
)
def test_what_is_known_of_a_queue_at_each_question(before, depth, consumed_at, expected):
    assert follow(before, depth, consumed_at=consumed_at, at=100.0) == expected
