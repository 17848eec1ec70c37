"""How long tasks have waited, tick by tick, and what a missed target is put down to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.model import PoolKind, QueueReading
from autoscaler.core.policy import Policy
from autoscaler.core.state import State
from autoscaler.daemon.waits import WaitTracker
from tests.support.builders import look, queue, worker


class Ticks:
    """A decider and a tracker over the same ticks."""

    def __init__(self, *, target: float | None = 5.0, maximum: int = 4, **more) -> None:
        self.decider = Decider(
            policy=Policy(max_processes=maximum),
            target_wait=None if target is None else TargetWaitPolicy(target_wait_seconds=target),
            **more,
        )
        self.tracker, self.state = WaitTracker(self.decider), State()

    def __call__(self, seen, *unresponsive):
        self.state, plan = self.decider.decide(self.state, seen)
        workers = {name: known.reading for name, known in self.state.workers.items()}
        return self.tracker.note(seen, plan, workers, unresponsive)


def shown(waits):
    return [(w.queues, w.seconds, w.missed_seconds, str(w.cause)) for w in waits]


def test_a_backlog_that_nobody_works_on_grows_old_and_is_put_down_to_the_maximum():
    tick, busy = Ticks(), worker(processes=4, busy=4, completed=10)
    assert shown(tick(look(9, busy, at=100.0))) == [(("celery",), 0.0, 0.0, "none")]
    assert shown(tick(look(9, busy, at=106.0))) == [(("celery",), 6.0, 0.0, "none")]
    assert shown(tick(look(9, busy, at=108.0))) == [(("celery",), 8.0, 0.0, "at_max")]
    assert shown(tick(look(9, busy, at=230.0))) == [(("celery",), 130.0, 122.0, "at_max")]


def test_what_was_started_is_the_oldest_so_a_backlog_that_moves_stays_young():
    tick = Ticks()
    for second in range(20):
        busy = worker(processes=4, busy=4, completed=8 * second)
        waits = tick(look(8, busy, at=100.0 + 2 * second))
    # Eight end and eight come in each tick: what waits now came with the last one.
    assert shown(waits) == [(("celery",), 0.0, 0.0, "none")]


def test_a_task_that_was_fetched_and_has_not_started_still_waits():
    tick = Ticks()
    tick(look(3, worker(processes=4, busy=4), at=100.0))
    waits = tick(look(0, worker(processes=4, busy=4, reserved=3), at=110.0))
    assert shown(waits) == [(("celery",), 10.0, 0.0, "at_max")]


def test_a_stamp_that_is_older_than_what_was_seen_counts():
    tick, stamped = Ticks(), replace(queue(1), oldest_age_seconds=60.0)
    waits = tick(look(None, worker(processes=4, busy=4), at=100.0, queues=(stamped,)))
    assert shown(waits) == [(("celery",), 60.0, 0.0, "at_max")]


@pytest.mark.parametrize(
    ("last", "unresponsive", "cause"),
    [
        (look(9, worker(queues=("other",)), at=300.0), (), "not_consumed"),
        (replace(look(9, at=300.0), workers=()), (), "no_worker"),
        (replace(look(9, at=300.0), workers=()), ("celery@one",), "unresponsive"),
        (look(9, worker(pool=PoolKind.SOLO, processes=1, busy=1), at=300.0), (), "unsupported"),
        (look(9, worker(processes=4, busy=0, completed=0), at=300.0), (), "not_consuming"),
        (look(9, worker(processes=4, rate_limited=9), at=300.0), (), "none"),
    ],
)
def test_the_cause_is_what_keeps_the_tasks_waiting(last, unresponsive, cause):
    tick = Ticks()
    first = replace(last, at=100.0, workers=last.workers)
    tick(first, *unresponsive)
    tick(replace(last, at=200.0), *unresponsive)
    waits = {wait.queues: wait for wait in tick(last, *unresponsive)}
    assert str(waits[("celery",)].cause) == cause


def test_without_a_target_wait_nothing_is_missed():
    tick, busy = Ticks(target=None), worker(processes=4, busy=4)
    tick(look(9, busy, at=100.0))
    (wait,) = tick(look(9, busy, at=300.0))
    assert (wait.seconds, wait.target_seconds, wait.missed_seconds) == (200.0, None, 0.0)


def test_a_queue_has_the_target_that_it_was_given():
    tick = Ticks(target_waits={"slow": 600.0})
    tick(look(9, worker(queues=("slow",), processes=4, busy=4), at=100.0, queues=(queue(9, "slow"),)))
    (wait,) = tick(
        look(9, worker(queues=("slow",), processes=4, busy=4), at=300.0, queues=(queue(9, "slow"),))
    )
    assert (wait.target_seconds, str(wait.cause)) == (600.0, "none")


def test_a_queue_that_could_not_be_read_keeps_growing_old():
    tick, busy = Ticks(), worker(processes=4, busy=4)
    tick(look(9, busy, at=100.0))
    unread = QueueReading(name="celery", waiting=None, error="x")
    (wait,) = tick(look(None, busy, at=150.0, queues=(unread,)))
    assert wait.seconds == 50.0


def test_of_a_group_whose_workers_come_and_go_those_that_are_there_are_remembered():
    tick = Ticks()
    for number in range(50):
        tick(look(1, worker(f"pod-{number}@h", completed=5), at=100.0 + 100 * number))
    assert [list(line.started) for line in tick.tracker._lines.values()] == [["pod-49@h"]]


def test_a_count_that_was_not_read_once_is_made_up_for():
    tick, busy = Ticks(), worker(processes=4, busy=4, completed=10)
    tick(look(9, busy, at=100.0))
    tick(look(9, busy._replace(completed=None), at=110.0))
    waits = tick(look(9, busy._replace(completed=19), at=120.0))
    assert shown(waits) == [(("celery",), 0.0, 0.0, "none")]
