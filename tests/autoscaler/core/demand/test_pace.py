"""How many tasks processes start within a horizon, counted by hand."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.pace import Pace

PACE = Pace(service_seconds=2.0, start_seconds=1.0, tick_seconds=1.0, margin_seconds=0.0, caution=0.0)


def test_a_busy_process_becomes_free_once_in_a_service_time_and_caution_counts_on_fewer():
    assert PACE.freed(4, 2.0) == 4.0
    assert PACE._replace(caution=1.5).freed(4, 2.0) == 1.0
    assert PACE._replace(caution=10.0).freed(4, 2.0) == 0.0


def test_an_idle_process_starts_a_task_at_once_or_when_it_is_ready():
    assert PACE.spare(2, 0.0, 0.0) == 2.0
    assert (PACE.spare(2, 0.9, 1.0), PACE.spare(2, 3.0, 1.0)) == (0.0, 4.0)


@pytest.mark.parametrize(("slack", "starts"), [(-1.0, 1.0), (0.0, 1.0), (2.0, 2.0)])
def test_a_new_process_starts_one_task_and_goes_on(slack, starts):
    assert PACE.started(slack) == starts
