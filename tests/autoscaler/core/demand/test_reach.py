"""A target that the bounds do not allow is said, with what it would take; one that is kept is not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autoscaler.core.decider import Decider, Mode
from autoscaler.core.demand.reach import HOLD_SECONDS, Look, Reach, follow, surely_served
from autoscaler.core.demand.target_wait import TargetWaitPolicy, TargetWaitState
from autoscaler.core.model import PoolKind
from autoscaler.core.policy import Policy
from autoscaler.report.status import TickRecord, condition_counts, conditions, status
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.traces import Trace


class Recorder:
    """The decider of a replay, with each observation and plan that it made."""

    def __init__(self, most, **more):
        usual = {"target_wait": TargetWaitPolicy(), "name": "a"}
        self.decider = Decider(policy=Policy(max_processes=most), **{**usual, **more})
        self.policy, self.seen = self.decider.policy, []
        self.min_interval_seconds = self.decider.min_interval_seconds

    def decide(self, state, observation):
        state, plan = self.decider.decide(state, observation)
        self.seen.append((observation, plan))
        return state, plan

    @property
    def needed(self):
        """What it takes by the last plan, 0 where the target is within reach."""
        return self.seen[-1][1].groups[0].needed or 0


def replay(arrivals, service_seconds, most, lasts):
    """A replay at the default interval, and the share of tasks that start within the target."""
    recorder = Recorder(most)
    trace = Trace(
        name="drawn by hand",
        arrivals_seconds=arrivals,
        services_seconds=[service_seconds] * len(arrivals),
        duration_seconds=lasts,
    )
    scaler = DecidedScaler(recorder, name="ours", start_seconds=1.0, interval_seconds=2.0)
    result = simulate(trace, scaler, PoolModel(max_processes=most))
    within = sum(wait <= 5.0 for wait in result.waits_seconds) / len(arrivals)
    return recorder, within


def bursts(size, count=5, every=60.0, offset=30.7):
    return [offset + number * every for number in range(count) for _ in range(size)]


def test_bursts_of_1000_tasks_of_50_ms_are_out_of_reach_of_8_processes():
    recorder, within = replay(bursts(1000), 0.05, 8, 330.0)
    assert within < 1
    assert recorder.needed == 10
    observation, plan = recorder.seen[-1]
    (shown,) = observation.workers
    record = TickRecord(observation=observation, plan=plan, workers={shown.name: shown}, name="a")
    assert conditions(record, Mode.ACT)["target_out_of_reach", shown.name] == (
        "tasks arrive faster than they can start within 5 s: it takes about 10 processes on celery, more than"
        " --max and the limits allow; raise them, add workers, or set a longer --target-wait"
    )
    assert condition_counts(record, conditions(record, Mode.ACT))["target_out_of_reach"] == 1
    assert status(record)["groups"][0]["needed_for_target"] == 10


@pytest.mark.parametrize(
    ("arrivals", "service_seconds", "most", "needed"),
    [
        pytest.param(bursts(1000), 0.05, 16, 0, id="as many as it takes are allowed"),
        pytest.param(bursts(400), 0.05, 8, 0, id="smaller bursts"),
        pytest.param([10 + n / 4 for n in range(1000)], 1.0, 8, 0, id="a steady load within reach"),
        pytest.param([10 + 30.0 * n for n in range(8)], 20.0, 1, 0, id="long tasks one by one"),
        pytest.param([10 + n / 4 for n in range(1000)], 4.0, 8, 16, id="a steady load of 16 processes"),
    ],
)
def test_what_it_takes_is_said_only_where_the_bounds_do_not_allow_it(arrivals, service_seconds, most, needed):
    recorder, _ = replay(arrivals, service_seconds, most, arrivals[-1] + 60)
    assert recorder.needed == pytest.approx(needed, rel=0.25)


def look(at, tasks=0, ended=0, **fields):
    plain = {"backlog": tasks, "target_seconds": 5.0, "service_seconds": 0.05, "limit": 8}
    return Look(at=at, tasks=tasks, ended=ended, **{**plain, **fields})


def needed(*looks):
    state = Reach()
    for one in looks:
        state = follow(state, one)
    return state.needed


EMPTY, BURST = look(0.0), look(2.0, 1500)


def test_a_need_is_remembered_between_bursts_and_forgotten_after_a_while_or_once_it_is_allowed():
    assert needed(EMPTY, BURST) == 15
    assert needed(EMPTY, BURST, look(4.0, 0, 1500), look(HOLD_SECONDS, 0, 1500)) == 15
    assert needed(EMPTY, BURST, look(HOLD_SECONDS + 3, 0, 1500)) == 0
    assert needed(EMPTY, BURST, look(4.0, 0, 1500, limit=15)) == 0


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([BURST], id="the first look: nobody saw them arrive"),
        pytest.param([EMPTY, look(60.0, 1500)], id="nobody looked for long"),
        pytest.param([EMPTY, look(2.0, 1500, service_seconds=None)], id="the service time is not learnt"),
        pytest.param([EMPTY, look(2.0, 1500, limit=None)], id="no bound is known"),
        pytest.param([EMPTY, look(0.0, 1500)], id="no time has passed"),
    ],
)
def test_what_is_not_known_is_not_said(looks):
    assert needed(*looks) == 0


@pytest.mark.parametrize(("remembered", "ended", "known"), [(50, 9, False), (50, 10, True), (4, 2, True)])
def test_a_service_time_of_few_tasks_is_a_guess(remembered, ended, known):
    learnt = TargetWaitState(busy_seconds=2.0 * ended, ended=float(ended))
    found = surely_served(TargetWaitPolicy(remembered_tasks=remembered), learnt)
    assert found == (2.0 if known else None)


def test_no_more_than_64_arrivals_are_remembered():
    state = Reach()
    for tick in range(200):
        state = follow(state, look(float(tick), 100 + tick))
    assert (len(state.arrivals), sum(tasks for _, tasks in state.arrivals)) == (64, 199)


def bursts_of_20(target_seconds):
    """A replay of twenty at the default intervals, of tasks of 2 s."""
    target = TargetWaitPolicy(target_wait_seconds=target_seconds)
    recorder = Recorder(64, target_wait=target, min_interval_seconds=0.5, interval_seconds=2.0)
    arrivals = bursts(20, count=20)
    trace = Trace(
        name="drawn by hand",
        arrivals_seconds=arrivals,
        services_seconds=[2.0] * len(arrivals),
        duration_seconds=1300.0,
    )
    scaler = DecidedScaler(recorder, name="ours", start_seconds=1.0, interval_seconds=2.0)
    return recorder, simulate(trace, scaler, PoolModel(max_processes=64))


def test_a_target_shorter_than_the_usual_look_and_a_start_is_kept_by_looking_more_often():
    recorder, result = bursts_of_20(3.0)
    looks = [observation.at for observation, _ in recorder.seen]
    assert max(result.waits_seconds) <= 3.0
    assert max(later - earlier for earlier, later in pairwise(looks)) == pytest.approx(1.8)
    assert result.timeline[-1][2] == 1  # nothing is held after a burst
    assert recorder.seen[-1][1].groups[0].shortest_target_seconds < 3.0


def test_a_target_shorter_than_any_look_and_a_start_is_named_and_kept_by_what_was_needed_before():
    recorder, result = bursts_of_20(1.0)
    # The first burst finds one process.
    late = [number // 20 for number, wait in enumerate(result.waits_seconds) if wait > 1.0]
    assert late == [0] * 19
    observation, plan = recorder.seen[-1]
    record = TickRecord(observation=observation, plan=plan, workers={}, name="a")
    (worker,) = observation.workers
    assert conditions(record, Mode.ACT)["target_too_short", worker.name] == (
        "a task may be seen one --min-interval after it came, and a process takes a while to start: a target"
        " of 1 s is kept by processes that are there already, not by growth, and the first tasks of a burst"
        " that needs more are late; set a --target-wait of about 2 s or more, or --min to what a burst needs"
    )
    assert condition_counts(record, conditions(record, Mode.ACT))["target_too_short"] == 1
    # No option of the daemon helps a worker whose pool it cannot resize.
    fixed = {worker.name: worker._replace(pool=PoolKind.SOLO)}
    alone = TickRecord(observation=observation, plan=plan, workers=fixed, name="a")
    assert ("target_too_short", worker.name) not in conditions(alone, Mode.ACT)


def test_a_target_that_growth_can_keep_is_not_called_too_short():
    recorder, _ = replay(bursts(10), 1.0, 16, 330.0)
    assert {plan.groups[0].shortest_target_seconds for _, plan in recorder.seen} == {None}
