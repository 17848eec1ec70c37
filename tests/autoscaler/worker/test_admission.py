"""Holding a pool's tasks back: who is fed, and when the worker's loop is woken up."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import pytest

from autoscaler.worker.admission import Admission
from autoscaler.worker.feeding import Feeding


@dataclass(eq=False)
class Child:
    pid: int

    @property
    def inqW_fd(self):  # noqa: N802 - billiard's name
        return self.pid


class Pool:
    """What Celery's pool keeps of idle children, as the worker's loop finds it."""

    def __init__(self, children):
        self._pool = [Child(pid) for pid in range(1, children + 1)]
        self._fileno_to_inq = {child.inqW_fd: child for child in self._pool}
        self._all_inqueues = {child.inqW_fd for child in self._pool}
        self._busy_workers, self._active_writes, self._cache = set(), set(), {}
        self.outbound_buffer = deque()


@dataclass
class Hub:
    wakes: int = 0

    def call_later(self, _delay, _callback):
        self.wakes += 1

    def remove_writer(self, fd):
        """Nothing: no writer is registered."""


@dataclass
class Gate:
    """A gate that has decided."""

    decided: int | None
    closed: bool = False
    asked: list = field(default_factory=list)

    def is_roomy(self, _processes):
        return self.decided is None

    def room(self, busy, idle, _starting):
        self.asked.append((busy, idle))
        return self.decided


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self):
        return self.now


def tick(pool, hub, gate, now=time.monotonic):
    admission = Admission(pool, hub, Feeding(pool, hub), gate, now)
    pool.outbound_buffer.append("a task")
    admission.on_tick(lambda: pool._pool)
    return admission


@pytest.mark.parametrize(("room", "fed"), [(None, {1, 2, 3}), (2, {1, 2}), (0, set())])
def test_as_many_idle_children_are_fed_as_there_is_room_for(room, fed):
    pool, hub = Pool(3), Hub()
    tick(pool, hub, Gate(room))
    assert (pool._all_inqueues, hub.wakes) == (fed, int(room is not None))


@pytest.mark.parametrize(
    ("room", "tasks", "waits"), [(None, 3, False), (3, 3, False), (2, 3, True), (2, 2, False), (0, 1, True)]
)
def test_tasks_wait_for_memory_where_idle_children_are_given_none(room, tasks, waits):
    pool, gate = Pool(3), Gate(room)
    pool.outbound_buffer.extend(["a task"] * (tasks - 1))
    clock = Clock()
    admission = tick(pool, Hub(), gate, clock)
    assert (admission.waiting_seconds is not None) == waits
    gate.decided = 3
    admission.on_tick(lambda: pool._pool)
    clock.now += 1.5
    assert admission.waiting_seconds is None


def test_short_tasks_that_start_one_by_one_wait_all_the_time():
    pool, gate, clock = Pool(3), Gate(0), Clock()
    admission = tick(pool, Hub(), gate, clock)
    for _ in range(15):
        clock.now += 0.4
        admission.on_tick(lambda: pool._pool)
        gate.decided = 1  # a task has ended; the one that waits starts, and the next is fetched
        admission.on_tick(lambda: pool._pool)
        assert admission.waiting_seconds is not None
        gate.decided = 0
        clock.now += 0.6
        admission.on_tick(lambda: pool._pool)
    assert admission.waiting_seconds == pytest.approx(15.0)


def test_what_waited_once_is_no_wait_of_what_waits_much_later():
    pool, gate, clock = Pool(3), Gate(0), Clock()
    admission = tick(pool, Hub(), gate, clock)
    gate.decided = 1
    admission.on_tick(lambda: pool._pool)
    gate.decided = 0
    clock.now += 30.0
    admission.on_tick(lambda: pool._pool)
    assert admission.waiting_seconds == pytest.approx(0.0)


def test_no_wait_is_told_after_the_last_task_has_gone():
    pool, clock = Pool(3), Clock()
    admission = tick(pool, Hub(), Gate(0), clock)
    pool.outbound_buffer.clear()
    admission.on_tick(lambda: pool._pool)
    clock.now += 1.5
    assert admission.waiting_seconds is None


def test_a_loop_that_turns_late_ends_no_wait():
    pool, clock = Pool(3), Clock()
    admission = tick(pool, Hub(), Gate(0), clock)
    clock.now += 8.0
    admission.on_tick(lambda: pool._pool)
    assert admission.waiting_seconds == pytest.approx(8.0)


def test_the_wait_for_memory_is_counted_from_its_beginning():
    pool = Pool(3)
    admission = tick(pool, Hub(), Gate(0))
    before = admission.waiting_seconds
    admission.on_tick(lambda: pool._pool)
    assert admission.waiting_seconds >= before


def test_a_worker_without_tasks_is_not_woken_up_again_and_again():
    pool, hub, gate = Pool(3), Hub(), Gate(1)
    admission = tick(pool, hub, gate)
    pool.outbound_buffer.clear()
    admission._looks_at = 0.0  # the last wake-up is over
    admission.on_tick(lambda: pool._pool)
    assert (hub.wakes, len(gate.asked)) == (1, 2)
    gate.closed = True  # a kill: processes are to be started again once it is over
    admission.on_tick(lambda: pool._pool)
    assert hub.wakes == 2
