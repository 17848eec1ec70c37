"""How many processes the work asks for by the thresholds, as a whole decision."""

from __future__ import annotations

import pytest

from autoscaler.core.model import Reason
from tests.support.builders import decide, decision, look, worker


@pytest.mark.parametrize(
    ("waiting", "busy", "expected"),
    [
        pytest.param(2, 4, decision(4, 4, Reason.STEADY), id="load 1.5 is at the watermark: hold"),
        pytest.param(3, 4, decision(4, 7, Reason.LOAD_HIGH), id="load above 1.5: a process for each task"),
        pytest.param(0, 3, decision(4, 4, Reason.STEADY), id="load between the watermarks: hold"),
        pytest.param(0, 2, decision(4, 2, Reason.LOAD_LOW), id="load below 0.6: what runs keeps its process"),
        pytest.param(0, 0, decision(4, 1, Reason.AT_MIN), id="nothing to do: down to min, which says so"),
        pytest.param(50, 4, decision(4, 10, Reason.AT_MAX), id="more work than max: max, which says so"),
    ],
)
def test_the_size_follows_the_load(waiting, busy, expected):
    assert decide(look(waiting, worker(busy=busy))) == (expected,)


def test_reserved_tasks_count_as_load_and_scheduled_ones_do_not():
    assert decide(look(0, worker(busy=4, reserved=4, scheduled=500))) == (decision(4, 8, Reason.LOAD_HIGH),)


def test_a_retiring_process_brings_its_own_task_along():
    assert decide(look(0, worker(processes=2, retiring=6, busy=8))) == (decision(2, 2, Reason.STEADY),)
