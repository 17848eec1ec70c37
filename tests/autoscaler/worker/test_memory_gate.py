"""How many more tasks may start now, by the room that is left below the memory limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker.memory_gate import MemoryGate
from autoscaler.worker.process_memory import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20
IDLE = Process(30 * MIB, 30 * MIB)
HEAVY = Process(110 * MIB, 110 * MIB)
ONCE_HEAVY = Process(30 * MIB, 110 * MIB)


@dataclass
class Group:
    """A group of 300 MiB as a test has made it."""

    held: int | None = 100 * MIB
    charged: int | None = None
    kills: int | None = 0
    limit_bytes: int = 300 * MIB
    folder: str = "/group"

    def read_charged_bytes(self):
        return self.held if self.charged is None else self.charged

    def read_held_bytes(self):
        return self.held

    def read_oom_kills(self):
        return self.kills


@dataclass
class World:
    group: Group | None = field(default_factory=Group)
    processes: dict[int, Process] = field(default_factory=dict)
    collected: int = 0
    now: float = 1000.0

    def gate(self, *, tried: bool = True) -> MemoryGate:
        made = MemoryGate(
            lambda: self.collected,
            find_group=lambda: self.group,
            look_at=self.processes.get,
            now=lambda: self.now,
        )
        if tried:  # one task has run and ended
            made.room([1], [])
            made.room([], [1])
            self.now += 1
        return made


def look_often(world: World, gate: MemoryGate, running: Sequence[int], idle: Sequence[int]) -> int | None:
    """The room after some decisions: only a few processes are looked at in each."""
    for _ in range(6):
        world.now += 1
        found = gate.room(running, idle)
    return found


@pytest.mark.parametrize(
    ("processes", "held", "running", "idle", "expected"),
    [
        pytest.param({1: IDLE, 2: IDLE}, 100, [], [1, 2], None, id="nothing heavy was seen"),
        pytest.param({1: HEAVY, 2: IDLE, 3: IDLE}, 180, [1], [2, 3], 1, id="one more has room"),
        pytest.param({1: HEAVY, 2: HEAVY, 3: IDLE}, 260, [1, 2], [3], 0, id="none has"),
        pytest.param({1: ONCE_HEAVY, 2: IDLE, 3: IDLE}, 120, [1], [2, 3], 1, id="one that runs may grow"),
        pytest.param({1: IDLE, 2: IDLE, 3: ONCE_HEAVY}, 290, [], [1, 2, 3], 1, id="one runs in any case"),
    ],
)
def test_a_task_starts_only_where_one_more_process_has_room_at_its_peak(
    processes, held, running, idle, expected
):
    world = World(processes=processes)
    gate = world.gate()
    world.group.held = held * MIB
    assert gate.room(running, idle) == expected


def test_a_decision_counts_the_tasks_that_were_started_on_it():
    world = World(processes={1: HEAVY, 2: IDLE, 3: IDLE})
    gate = world.gate()
    world.group.held = 180 * MIB
    assert [gate.room([1], [2, 3]), gate.room([1, 2], [3])] == [1, 0]


def test_a_decision_that_all_may_start_does_not_hold_for_a_process_that_comes_after_it():
    world = World(processes={1: HEAVY, 2: HEAVY, 3: IDLE, 4: IDLE})
    gate = world.gate()
    world.group.held = 260 * MIB
    assert [gate.room([1, 2], []), gate.room([1, 2], [3, 4])] == [None, 0]


def test_much_room_for_some_processes_does_not_hold_for_more():
    world = World(processes={1: HEAVY, 2: IDLE})
    gate = world.gate()
    world.group.limit_bytes, world.group.held = 1000 * MIB, 180 * MIB
    assert (gate.room([1], [2]), gate.is_roomy(2)) == (None, True)
    assert (gate.is_roomy(8), gate.is_roomy(2)) == (False, True)


def test_processes_that_are_not_up_yet_will_take_what_an_idle_one_has():
    world = World(processes={1: HEAVY, 2: IDLE, 3: IDLE})
    world.group.held = 100 * MIB
    found = []
    for starting in (0, 1, 3):
        gate = world.gate()
        found.append(gate.room([1], [2, 3], starting))
    assert found == [None, 1, 1], "185 MiB, of which 80 for each and 30 for each that starts"


def test_new_processes_tell_nothing_of_what_tasks_need():
    world = World(processes={1: ONCE_HEAVY, **dict.fromkeys(range(2, 60), IDLE)})
    world.group.limit_bytes, world.group.held = 1000 * MIB, 200 * MIB
    gate = world.gate()
    look_often(world, gate, range(1, 41), range(41, 60))
    assert gate.room(range(1, 41), range(41, 60)) == 0, "those that run may grow by 80 each"
    world.now += 1
    assert gate.room([1], range(41, 60)) == 8, "950 less 200, 80 each, of which one is for the one that runs"


def test_a_first_task_that_runs_and_is_large_already_tells_what_others_may_need():
    large = dict.fromkeys(range(2, 12), HEAVY)
    world = World(processes={1: IDLE, **large, **dict.fromkeys(range(12, 21), IDLE)})
    world.group.limit_bytes, world.group.held = 2000 * MIB, 1700 * MIB
    gate = world.gate()
    assert look_often(world, gate, range(2, 12), [1, *range(12, 21)]) == 2, "200 MiB, of which 80 for each"


def test_after_a_kill_no_task_starts_until_those_that_ran_have_ended():
    world = World(processes=dict.fromkeys(range(1, 5), IDLE))
    gate = world.gate()
    world.group.kills, world.collected = 1, 60 * MIB
    assert (gate.notice_kills(), gate.closed, gate.notice_kills()) == (True, True, False)
    assert gate.room([1, 2], [3, 4]) == 0
    world.processes |= {1: ONCE_HEAVY, 2: ONCE_HEAVY}
    assert (gate.room([], [1, 2, 3, 4]), gate.closed) == (2, False), "285 MiB less 100, each grows by 80"


def test_a_kill_keeps_tasks_for_ten_seconds_at_most():
    world = World(processes=dict.fromkeys(range(1, 5), IDLE))
    gate = world.gate()
    world.group.kills = 1
    gate.notice_kills()
    world.now += 9.9
    assert gate.room([1], [2, 3]) == 0
    world.now += 0.2
    assert gate.room([1], [2, 3]) is None


def test_a_kill_that_ended_no_child_is_noticed_where_memory_is_short():
    world = World(processes={1: HEAVY, 2: IDLE, 3: IDLE})
    gate = world.gate()
    world.group.held, world.group.kills = 180 * MIB, 1  # a program that a task had started
    assert (gate.room([1], [2, 3]), gate.closed) == (0, True)


def test_after_a_kill_each_process_is_taken_to_grow_to_the_largest_peak_for_ten_minutes():
    light = dict.fromkeys(range(2, 41), Process(10 * MIB, 12 * MIB))
    world = World(processes={1: Process(10 * MIB, 90 * MIB), **light}, group=Group(limit_bytes=1000 * MIB))
    gate = world.gate()
    gate.room(range(1, 41), [])
    gate.room([], range(1, 41))
    assert look_often(world, gate, range(1, 11), range(11, 41)) is None, "95 % need 12 MiB"
    world.group.kills = 1
    gate.notice_kills()
    world.now += 11
    assert gate.room(range(1, 6), range(6, 41)) == 5, "950 less 100 less 5 x 80, each 80"
    world.now += 600
    assert look_often(world, gate, range(1, 6), range(6, 41)) is None


def test_twice_as_many_try_each_half_second_until_a_first_task_has_ended():
    world = World(processes=dict.fromkeys(range(1, 9), IDLE))
    gate = world.gate(tried=False)
    found = [gate.room([], range(1, 9))]
    for running in (1, 1, 2, 4):
        world.now += 0.5
        found.append(gate.room(range(1, 1 + running), range(1 + running, 9)))
    assert found == [1, 1, 3, 6, 12]
    world.now += 0.1
    assert gate.room([2], [1, 3, 4, 5, 6, 7, 8]) is None


def test_a_first_task_that_is_over_before_the_next_decision_has_been_tried_too():
    world = World(processes=dict.fromkeys(range(1, 5), IDLE))
    gate = world.gate(tried=False)
    found = []
    for running, idle in (([], [1, 2, 3, 4]), ([1], [2, 3, 4]), ([], [1, 2, 3, 4])):
        found.append(gate.room(running, idle))
        world.now += 0.005
    world.now += 1
    assert [*found, gate.room([], [1, 2, 3, 4])] == [1, 0, 1, None]


def test_a_peak_counts_for_an_hour_after_it_was_last_reached_though_its_process_lives_on():
    processes = {1: Process(30 * MIB, 230 * MIB), 2: IDLE, 3: IDLE, 4: IDLE}
    world = World(processes=processes, group=Group(held=130 * MIB))
    gate = world.gate()
    found = [gate.room([2], [1, 3, 4])]
    world.now += 1800
    world.processes[1] = Process(215 * MIB, 230 * MIB)  # once more, nearly
    found.append(gate.room([1], [2, 3, 4]))
    world.processes[1] = Process(30 * MIB, 230 * MIB)
    for seconds in (3500, 200):
        world.now += seconds
        found.append(gate.room([2], [1, 3, 4]))
    assert found == [0, 0, 0, None]


def test_a_worker_without_a_limit_or_with_much_room_is_left_alone():
    world = World(group=None)
    assert world.gate().is_roomy(4)
    world = World(processes={1: HEAVY, 2: HEAVY}, group=Group(limit_bytes=4096 * MIB))
    gate = world.gate()
    gate.room([1], [2])
    world.now += 1
    assert gate.is_roomy(4)
    world.now += 1
    assert not gate.is_roomy(40)


def test_what_cannot_be_read_holds_no_task_back():
    world = World(processes={1: HEAVY, 2: IDLE}, group=Group(held=None, kills=None))
    gate = world.gate()
    assert (gate.room([1], [2]), gate.notice_kills()) == (None, False)


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_that_end_with_their_task_teach_as_others_do(processes):
    # --max-tasks-per-child 1: no process that ran a task is ever idle again.
    world = World(group=Group(held=10 * MIB), processes=dict.fromkeys(range(500), Process(MIB, MIB)))
    gate = world.gate(tried=False)
    for number in range(1, 50):
        world.now += 0.1
        gate.room([number * 10 + one for one in range(processes)], [number * 10 + 9])
    assert gate.is_roomy(4)
