"""Which idle processes are worth keeping."""

from __future__ import annotations

import pytest

from autoscaler.core.demand.target_wait import TargetWaitState, advance
from tests.support.target_wait import PARAMETERS, learnt, play, signal


def test_an_idle_process_is_removed_where_nothing_says_that_it_is_needed_again():
    state, done = learnt(10, 4)
    idle = [signal(600.0 + tick, 0, 1, 4, completed=done + 3) for tick in range(30)]
    assert play(idle, state=state)[1][-1] == 1


@pytest.mark.parametrize(
    ("pause_seconds", "kept"),
    [
        pytest.param(10, True, id="the next burst comes before a start's worth is spent"),
        pytest.param(120, False, id="the pause costs more than a start"),
    ],
)
def test_whether_idle_processes_wait_for_the_next_burst_is_learnt_from_the_gaps(
    pause_seconds: int, *, kept: bool
):
    state, at, completed = TargetWaitState(), 0.0, 0
    for _ in range(40):
        for _ in range(10):  # busy with four tasks that end together
            state, _ = advance(PARAMETERS, state, signal(at, 0, 4, 4, completed=completed))
            at += 1
        completed += 4
        sizes = []
        for _ in range(pause_seconds):
            state, size = advance(PARAMETERS, state, signal(at, 0, 0, 4, completed=completed))
            sizes.append(size)
            at += 1
    assert set(sizes[5:60]) == ({4} if kept else {1})


def test_no_process_is_removed_while_a_task_waits():
    state, done = learnt(10, 4)
    assert play([signal(600.0, 1, 1, 4, completed=done + 3)], state=state)[1] == [4]
