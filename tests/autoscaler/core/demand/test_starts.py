"""How long a start takes, from what workers reported of their last growths."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.starts import Starts
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from tests.support.builders import Walk, prompt_policy, worker


def learnt(*looks):
    """What is expected after looks at workers a, b, ... with these starts."""
    starts = Starts()
    for look in looks:
        starts = starts.add(worker(name, start_seconds=one) for name, one in zip("abc", look, strict=False))
    return starts.seconds


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([], None),
        ([[None]], None),
        ([[4.9]], 4.9),
        ([[1.0], [4.9]], 1.0),
        ([[1.0], [4.9], [4.9], [4.9]], 1.0),
        ([[1.0], [1.1], [4.9]], 1.1),
        ([[1.0], [4.9], [5.1]], 4.9),
        ([[1.0], [5.1], [4.9], [1.1], [1.2]], 1.2),
        ([[1.0, 3.0]], 3.0),
        ([[1.0, 3.0], [1.1, 9.0]], 3.0),
        ([[1.0, 3.0], [1.1]], 1.0),
        ([[4.9], [None], [1.0]], 1.0),
        ([[4.9], [None]], 4.9),
        ([[4.9], [None, 1.0]], 1.0),
    ],
    ids=[
        "no worker",
        "no growth yet",
        "the first growth",
        "one slow growth",
        "one growth reported again",
        "the middle one",
        "a second slow growth",
        "fast again",
        "the slowest worker",
        "one slow growth of several workers",
        "a worker that is gone",
        "started anew",
        "started anew and not grown yet",
        "started anew, and another has grown",
    ],
)
def test_one_slow_growth_is_not_what_the_next_is_expected_to_take(looks, seconds):
    assert learnt(*looks) == seconds


def test_one_slow_growth_makes_no_target_too_short():
    """With a start of 4.9 seconds no growth could keep 3 seconds, and the pool would be held for an hour."""
    walk = Walk(
        prompt_policy(),
        target_wait=TargetWaitPolicy(target_wait_seconds=3),
        min_interval_seconds=0.5,
        interval_seconds=2.0,
    )
    plans = [walk.see(0, worker(start_seconds=seconds)) for seconds in (1.0, 4.9, 4.9, 5.0)]
    assert [plan.groups[0].shortest_target_seconds for plan in plans] == pytest.approx([1.7, 1.7, 1.7, 5.6])
