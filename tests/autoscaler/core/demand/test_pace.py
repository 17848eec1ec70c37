"""How many tasks processes start within a horizon, counted by hand."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.pace import Pace

PACE = Pace(service_seconds=2.0, start_seconds=1.0, tick_seconds=1.0, margin_seconds=0.0, caution=0.0)


def test_a_task_that_is_young_frees_no_process_and_an_old_one_does_once_in_a_service_time():
    assert PACE.freed([(0.0, 4)], 2.0, 2.0) == 4.0
    # Started just now: it runs for 1.8 s of the 2 at least.
    assert PACE.freed([(10.0, 4)], 10.0, 1.8) == 0.0
    assert PACE.freed([(10.0, 4)], 10.0, 2.8) == pytest.approx(2.0)
    assert PACE.freed([(0.0, 4), (10.0, 4)], 10.0, 2.8) == pytest.approx(5.6 + 2.0)


def test_caution_counts_on_fewer():
    assert PACE._replace(caution=1.5).freed([(0.0, 4)], 2.0, 2.0) == 1.0
    assert PACE._replace(caution=10.0).freed([(0.0, 4)], 2.0, 2.0) == 0.0


def test_an_idle_process_starts_a_task_at_once_or_when_it_is_ready():
    assert PACE.spare(2, [], 5.0, 0.0) == 2.0
    starting = [(6.0, 2)]
    assert (PACE.spare(2, starting, 5.0, 0.9), PACE.spare(2, starting, 5.0, 4.8)) == (0.0, 4.0)
    assert PACE.spare(5, [(6.0, 2), (9.0, 1)], 5.0, 2.8) == 2 * 1.5 + 2 * 1


def test_a_process_that_would_be_ready_after_a_task_has_started_does_not_help_it():
    assert (PACE.horizon(0.2), PACE.horizon(-5.0), PACE.horizon(3.0)) == (1.0, 1.0, 3.0)


def test_a_growth_that_waits_a_tick_allows_for_a_service_time_that_is_longer_than_is_known():
    assert PACE.started_later(1.8) == PACE.started(1.8) == 1.0  # one task
    assert 1 - PACE.started_later(301.0) / PACE.started(300.0) == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize(("slack", "starts"), [(-1.0, 1.0), (0.0, 1.0), (1.8, 1.0), (3.8, 2.0)])
def test_a_new_process_starts_one_task_and_goes_on_when_that_has_ended(slack, starts):
    assert PACE.started(slack) == pytest.approx(starts)
