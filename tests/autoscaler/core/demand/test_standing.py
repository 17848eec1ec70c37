"""What must be there beforehand: learnt from arrivals and from tasks that ended."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.core.demand.arrivals import Arrivals, Surges
from autoscaler.core.demand.fleet import Channel, Fleet, Member
from autoscaler.core.demand.learning import TargetWaitState, step_since
from autoscaler.core.demand.pace import Looks
from autoscaler.core.demand.parameters import TargetWaitPolicy
from autoscaler.core.demand.signal import Signal
from autoscaler.core.demand.standing import Since, Standing, Terms, _base_stock, crowd, follow
from autoscaler.core.demand.target_wait import advance, advance_fleet
from tests.support.target_wait import signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: (waiting, busy, completed), a look every 2 s.
Look = tuple[int, int, int]
PARAMETERS = TargetWaitPolicy(target_wait_seconds=1.0)
TERMS = Terms(target_seconds=1.0, growth_seconds=3.0, hold_seconds=3600.0, remembered_tasks=50.0)


def learnt(looks: Iterable[Look], processes: int = 64) -> Standing:
    state, known = TargetWaitState(tick_seconds=2.0), Standing()
    for number, (waiting, busy, completed) in enumerate(looks):
        shown = Signal(
            at=2.0 * number,
            waiting=waiting,
            busy=busy,
            reserved=0,
            processes=processes,
            completed=completed,
        )
        step = step_since(PARAMETERS, state, shown)
        since = Since(
            step.seconds,
            step.net_arrived,
            step.started,
            step.ended,
            step.busy_seconds,
            step.service_seconds,
            step.counted,
        )
        known = follow(known, since, state.last, shown, TERMS)
        state = state._replace(last=shown)
    return known


def test_at_an_even_rate_it_is_what_runs_and_a_spare_beyond_which_few_tasks_wait_too_long():
    known = learnt((0, 10, 20 * number) for number in range(60))  # 10 a second, of 1 s
    assert known.service_seconds == pytest.approx(1.0, rel=0.02)
    assert known.came.surges.largest == 0
    # Of 16 exponential servers 2 in 10,000 tasks wait longer than one service time.
    assert known.processes == pytest.approx(16, abs=1)


def test_what_was_needed_before_it_is_known_how_long_tasks_take_is_not_held():
    # Four tasks of 20 s at the start; until the first has ended, as many processes as tasks are asked for.
    state, busy, ended = TargetWaitState(tick_seconds=2.0), 4, 0
    for number in range(300):
        ended, busy = (4, 0) if number >= 12 else (0, 4)
        shown = Signal(
            at=2.0 * number,
            waiting=0,
            busy=busy,
            reserved=0,
            processes=9,
            completed=ended,
            start_seconds=None if number < 5 else 3.0,
        )
        state, size = advance(PARAMETERS, state, shown, Looks(0.25, 2.0))
    assert size <= 5


def test_for_long_tasks_it_is_what_runs_and_what_may_come_before_a_growth():
    looks = [(0, 0, 0), *((0, 30, number // 10) for number in range(4000))]  # one in 20 s, of 600 s
    assert learnt(looks).processes == pytest.approx(34, abs=1)  # not 30, and not 60


def test_a_surge_is_remembered_for_as_long_as_is_held_and_no_longer():
    quiet = [(0, 0, 0)] * 30
    surge = [*quiet, (39, 1, 1), *[(0, 0, 41)] * 60]
    assert round(learnt(surge).came.surges.largest) == 41
    assert learnt([*surge, *[(0, 0, 41)] * 1800]).came.surges.largest == 0


def test_tasks_that_have_just_begun_do_not_say_that_a_task_takes_long():
    steady = [(0, 1, 2 * number) for number in range(40)]  # of 1 s
    assert learnt([*steady, (0, 50, 80)]).service_seconds == pytest.approx(1.0, rel=0.05)


def test_before_a_look_says_how_long_tasks_take_it_is_no_more_than_there_was_time_for():
    # 100 tasks came and ended between two looks at 4 processes: 8 s for 100 of them.
    known = learnt([*[(0, 0, 0)] * 30, (40, 4, 0), (0, 0, 100)], processes=4)
    assert (known.service_seconds, known.sure) == (pytest.approx(0.08), False)


def test_a_crowd_that_ends_between_two_looks_does_not_say_that_a_task_takes_long():
    steady = [(0, 60, 600 * number) for number in range(60)]  # 300 a second, of 0.2 s
    # Nobody saw when they ended in the 2 s in which no other came.
    assert learnt([*steady, (0, 0, 600 * 59 + 60)]).service_seconds == pytest.approx(0.2, rel=0.05)


SURGE = Arrivals(surges=Surges(largest=30.0, second=30.0), surge_at=0.0, shortest_gap=100.0)
LONG = Standing(came=SURGE, service_seconds=1000.0)


@pytest.mark.parametrize(
    ("known", "at", "needed"),
    [
        pytest.param(LONG, 10.0, 30, id="a surge has just come"),
        pytest.param(LONG, 100.0, 40, id="another may come beside what runs"),
        pytest.param(
            LONG._replace(came=SURGE._replace(shortest_gap=math.inf)), 100.0, 30, id="the only one so far"
        ),
        pytest.param(
            LONG._replace(came=SURGE._replace(surges=Surges(largest=30.0, second=20.0))),
            100.0,
            50,
            id="the next one may be larger",
        ),
    ],
)
def test_a_surge_is_taken_beside_what_runs_once_another_may_follow(known: Standing, at: float, needed: int):
    assert _base_stock(known, 10, at, TERMS) == pytest.approx(needed, abs=0.1)


def test_where_the_rate_rises_more_will_run_by_the_time_a_growth_is_ready():
    even = Standing(came=Arrivals(per_second=20.0, lagging_per_second=20.0), service_seconds=1.0)
    rises = even._replace(came=even.came._replace(lagging_per_second=14.0))
    assert _base_stock(rises, 20, 0.0, TERMS) > _base_stock(even, 20, 0.0, TERMS) + 3


@pytest.mark.parametrize(("service", "target", "tasks"), [(1.0, 0.5, 1.0), (1.0, 1.0, 1.1), (0.1, 1.0, 10.1)])
def test_a_process_takes_as_many_tasks_as_start_within_the_target(
    service: float, target: float, tasks: float
):
    assert crowd(service, target) == pytest.approx(tasks)


def test_while_the_tasks_of_a_surge_run_no_other_is_expected_that_soon():
    quiet, ended = [(0, 0, 0)] * 30, 0
    looks: list[Look] = []
    for _ in range(3):  # 30 tasks of 4 s each 80 s
        looks += [*quiet, (0, 30, ended), (0, 30, ended)]
        ended += 30
        quiet = [(0, 0, ended)] * 38
    assert learnt(looks).processes < 60
    # The first time nobody knows.
    assert learnt(looks[:31]).stock == 0
    assert learnt([*looks, *quiet]).processes == 30


HOUR = range(300, 2100)  # of looks
STEADY = Signal(at=0.0, waiting=0, busy=12, reserved=0, processes=24, completed=0, start_seconds=3.0)


def unread(_: Signal) -> Signal | None:
    return None


def half_read(seen: Signal) -> Signal:
    return replace(seen, complete=False)


def silent(seen: Signal) -> Signal:
    return replace(seen, complete=False, completed=720)


@pytest.mark.parametrize("gap", [unread, half_read, silent])
@pytest.mark.parametrize("faster", [1.0, 1.4])
@pytest.mark.parametrize("counts_anew", [False, True])
def test_a_time_that_nobody_saw_teaches_nothing(
    gap: Callable[[Signal], Signal | None], faster: float, *, counts_anew: bool
):
    """Tasks of 10 s, 1.2 a second and 1.7 from the hour on; of that hour is seen what ``gap`` leaves."""
    state, sizes, completed = TargetWaitState(tick_seconds=2.0), [], 0.0
    for number in range(2400):
        completed += 2.4 * (faster if number >= HOUR.start else 1.0)
        shown = replace(STEADY, at=2.0 * number, completed=int(completed))
        if number in HOUR:
            shown = gap(shown)
        elif number >= HOUR.stop and counts_anew:
            shown = replace(shown, completed=int(completed) - 4000)
        if number >= HOUR.start and faster > 1 and shown:
            shown = replace(shown, busy=17)
        if shown:
            state, size = advance(PARAMETERS, state, shown, Looks(0.25, 2.0))
            if number >= HOUR.stop:
                sizes.append(size)
                assert 8 < state.service_seconds < 13
                assert 8 < state.standing.service_seconds < 13
    assert max(sizes) <= 34
    assert state.standing.came.surges.largest < 10


LOOKS = Looks(0.25, 2.0)


def steady(looks: int = 600) -> TargetWaitState:
    """What is remembered of :data:`STEADY`, tasks of 10 s and 1.2 a second, after so many looks."""
    state = TargetWaitState(tick_seconds=2.0)
    for number in range(looks):
        shown = replace(STEADY, at=2.0 * number, completed=int(2.4 * number))
        state, _ = advance(PARAMETERS, state, shown, LOOKS)
    return state


@pytest.mark.parametrize("gap", [unread, silent])
def test_what_gathered_in_a_time_that_nobody_saw_is_no_need_to_hold_a_size_for(
    gap: Callable[[Signal], Signal | None],
):
    """For an hour no task ends; then 64 processes do what waits, and the others."""
    state, size, waiting, completed = steady(300), 24, 0.0, 720.0
    for number in range(300, 3000):
        shown = replace(STEADY, at=2.0 * number)
        if number in HOUR:
            waiting += 2.4
            seen = gap(replace(shown, waiting=int(waiting)))
        else:
            busy = 64 if waiting else 12
            completed += busy / 5
            waiting = max(0.0, waiting - busy / 5 + 2.4)
            seen = replace(
                shown, waiting=int(waiting), busy=busy, processes=max(busy, size), completed=int(completed)
            )
        if seen:
            state, size = advance(PARAMETERS, state, seen, LOOKS)
            size = min(size, 64)
    assert waiting == 0
    assert 17 <= size <= 26


def of_two(seen: Signal) -> tuple[Signal, Fleet]:
    """The same with a second worker of one idle process on the same queue."""
    first = Member("a", seen.processes, seen.busy, 0, seen.completed, (0,))
    fleet = Fleet.of(
        [first, Member("b", 1, 0, 0, 0, (0,))], [Channel(("q",), 1.0, seen.waiting, (0, 1), seen.waiting)]
    )
    return replace(seen, processes=seen.processes + 1, continuous=False), fleet


def test_a_second_worker_that_comes_and_goes_leaves_what_is_learnt():
    state = steady()
    before, needed = state.standing, state.retention.needed_at
    for number in range(600, 630):
        shown, fleet = of_two(replace(STEADY, at=2.0 * number, completed=int(2.4 * number)))
        state, _ = advance_fleet(PARAMETERS, state, shown, fleet, LOOKS)
    assert state.gaps["a"].needed_at[14:24] == needed[14:24]  # no size was needed again
    shown = replace(STEADY, at=1260.0, completed=1512, continuous=False)
    state, size = advance(PARAMETERS, state, shown, LOOKS)
    assert size >= before.processes
    assert state.standing.served.mean_seconds(1260.0) == before.served.mean_seconds(1198.0)


def test_a_clock_that_went_back_takes_nothing_away():
    state = steady()
    state, size = advance(PARAMETERS, state, replace(STEADY, at=30.0, completed=1440), LOOKS)
    assert size >= state.standing.processes > 12
    assert state.retention.tasks_at


def test_processes_that_never_ran_a_task_go_where_no_start_is_known():
    state, size = TargetWaitState(), 20
    for number in range(3000):  # a task each minute, twice the time for which a size is held and more
        shown = signal(30.0 * number, 0, number % 2, size if number > 2 else 1, completed=number // 2)
        state, wanted = advance(PARAMETERS, state, replace(shown, start_seconds=None), LOOKS)
        size = min(size, wanted) if number > 2 else size
    assert size < 20


def test_a_queue_with_a_short_target_grows_beside_one_with_a_long_target():
    state, needs = TargetWaitState(), None
    for number in range(100):  # 8 tasks a second come and end; each waits 12 s, and a start takes 30 s
        first = Member("a", 8, 8, 0, 8 * number, (0, 1))
        channels = [Channel(("short",), 5.0, 100, (0,), 100, 12.0), Channel(("long",), 300.0, 0, (0, 1), 0)]
        fleet = Fleet.of([first, Member("b", 1, 0, 0, 0, (1,))], channels)
        shown = signal(float(number), 100, 8, 9, completed=8 * number, oldest_age_seconds=12.0)
        state, needs = advance_fleet(PARAMETERS, state, replace(shown, start_seconds=30.0), fleet, LOOKS)
    assert needs is not None
    assert needs.own[0] > 0
