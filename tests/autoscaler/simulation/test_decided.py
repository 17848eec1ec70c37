"""The daemon's decider in the simulation: it sees what a daemon sees, and nothing is lost on the way."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decider import Decider, Mode, Plan
from autoscaler.core.demand.target_wait import Signal, TargetWaitPolicy, TargetWaitState, advance
from autoscaler.core.model import Observation, QueueReading, WorkerReading
from autoscaler.core.policy import Policy
from autoscaler.simulation import workloads
from autoscaler.simulation.decided import QUEUE, WORKER, DecidedScaler
from autoscaler.simulation.engine import PoolModel, PoolView, simulate
from autoscaler.simulation.traces import Trace

if TYPE_CHECKING:
    from autoscaler.core.state import State

MODEL = PoolModel()
POLICY = Policy(max_processes=64)
#: No limit of the policy's own stands between what the latency demand sizes and what is done.
FREE = Policy(
    max_processes=64,
    max_step_up=10_000,
    max_step_down=10_000,
    scale_up_cooldown_seconds=0,
    scale_down_cooldown_seconds=0,
    stabilization_seconds=0,
    scale_down_delay_seconds=0,
)


def scaler(
    policy: Policy = POLICY, parameters: TargetWaitPolicy | None = None, **fields: object
) -> DecidedScaler:
    decider = Decider(policy=policy, target_wait=parameters, **fields)  # type: ignore[arg-type]
    return DecidedScaler(decider, name="decided", start_seconds=MODEL.start_seconds)


def view(at: float, **counts: int) -> PoolView:
    base = PoolView(
        at=at, waiting=0, reserved=0, busy=0, size=1, starting=0, completed=0, oldest_age_seconds=None
    )
    return replace(base, **counts)  # type: ignore[arg-type]


class Undecided:
    """The target wait alone, without the decider around it."""

    name = "undecided"
    interval_seconds = 1.0
    on_message = False
    initial_processes = 1

    def __init__(self, parameters: TargetWaitPolicy) -> None:
        self._parameters = parameters
        self._state = TargetWaitState()
        self._known_at = math.inf

    def desired(self, seen: PoolView) -> int:
        shown = Signal(
            at=seen.at,
            waiting=seen.waiting,
            busy=seen.busy,
            reserved=seen.reserved,
            processes=seen.size,
            completed=seen.completed,
            oldest_age_seconds=seen.oldest_age_seconds,
            start_seconds=MODEL.start_seconds if seen.at >= self._known_at else None,
        )
        self._state, size = advance(self._parameters, self._state, shown)
        if size > seen.size:
            self._known_at = min(self._known_at, seen.at + MODEL.start_seconds)
        return size


class Recorder:
    """A real decider that also keeps what it was shown."""

    def __init__(self, decider: Decider) -> None:
        self.policy = decider.policy
        self.min_interval_seconds = decider.min_interval_seconds
        self.seen: list[Observation] = []
        self._decider = decider

    def decide(self, state: State, observation: Observation) -> tuple[State, Plan]:
        self.seen.append(observation)
        return self._decider.decide(state, observation)


def record(*views: PoolView, policy: Policy = POLICY) -> list[Observation]:
    recorder = Recorder(Decider(policy=policy))
    asked = DecidedScaler(recorder, name="recorded", start_seconds=2.0)  # type: ignore[arg-type]
    for one in views:
        asked.desired(one)
    return recorder.seen


def test_a_view_becomes_one_worker_with_the_companion_and_one_queue():
    seen = record(
        PoolView(
            at=7.0,
            waiting=9,
            reserved=4,
            busy=2,
            size=2,
            starting=1,
            completed=11,
            oldest_age_seconds=1.5,
        )
    )
    assert seen == [
        Observation(
            at=7.0,
            queues=(QueueReading(name=QUEUE, waiting=9, oldest_age_seconds=1.5),),
            workers=(
                WorkerReading(
                    name=WORKER,
                    processes=2,
                    retiring=1,
                    busy=2,
                    reserved=4,
                    scheduled=0,
                    completed=11,
                    uptime_seconds=7.0,
                    queues=(QUEUE,),
                    companion=True,
                ),
            ),
        )
    ]


def test_the_start_time_is_known_once_a_requested_process_is_ready():
    late = view(6.0, waiting=4, busy=1)
    seen = record(view(5.0), late, replace(late, at=7.0), replace(late, at=8.0, size=5), policy=FREE)
    assert [one.workers[0].start_seconds for one in seen] == [None, None, None, 2.0]


@pytest.mark.slow
def test_without_the_policys_limits_it_is_the_target_wait_itself():
    parameters = TargetWaitPolicy()
    trace = workloads.batches(seed=5, seconds=3600)
    direct = simulate(trace, Undecided(parameters), MODEL)
    decided = simulate(
        trace, scaler(FREE, replace(parameters, assumed_start_seconds=MODEL.start_seconds)), MODEL
    )
    assert replace(decided, scaler=direct.scaler) == direct


@pytest.mark.parametrize(
    ("policy", "sizes"),
    [
        pytest.param(replace(FREE, max_step_up=3), [4, 7, 10], id="a step"),
        pytest.param(replace(FREE, max_processes=5), [5, 5, 5], id="the upper bound"),
        pytest.param(replace(FREE, scale_up_cooldown_seconds=3), [1, 1, 21], id="the cooldown of a start"),
    ],
)
def test_the_policys_limits_bite_by_thresholds(policy: Policy, sizes: list[int]):
    asked, found = scaler(policy), []
    size = policy.min_processes
    for at in (0.0, 1.0, 3.0):
        size = asked.desired(view(at, waiting=20, busy=1, size=size))
        found.append(size)
    assert found == sizes


def test_a_pool_starts_at_the_minimum_of_the_policy():
    assert scaler(replace(POLICY, min_processes=3)).initial_processes == 3


def test_a_decider_that_may_not_act_leaves_the_pool_as_it_is():
    trace = workloads.on_off(seed=1, seconds=300)
    outcome = simulate(trace, scaler(FREE, TargetWaitPolicy(), mode=Mode.DRY_RUN), MODEL)
    assert (outcome.starts, outcome.changes, outcome.peak_processes) == (0, 0, 1)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    least=st.integers(1, 3),
    most=st.integers(3, 40),
    by_target=st.booleans(),
    target=st.floats(0.5, 30),
)
def test_whatever_the_policy_every_task_starts_and_the_bounds_are_kept(
    *, seed: int, least: int, most: int, by_target: bool, target: float
):
    policy = Policy(min_processes=least, max_processes=most)
    model = PoolModel(min_processes=least, max_processes=most)
    parameters = TargetWaitPolicy(target_wait_seconds=target) if by_target else None
    outcome = simulate(workloads.flash_crowd(seed, seconds=90), scaler(policy, parameters), model)
    sizes = [size for _, _, size in outcome.timeline]
    assert least <= min(sizes) <= max(sizes) <= most
    assert min(outcome.waits_seconds, default=0.0) >= 0


def test_the_same_trace_gives_the_same_outcome():
    trace = workloads.levels(seed=2, seconds=900)
    first, second = (simulate(trace, scaler(POLICY, TargetWaitPolicy()), MODEL) for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_a_million_tasks_take_less_than_a_minute():
    rng = random.Random(1)
    at, arrivals = 0.0, []
    for _ in range(1_000_000):
        at += rng.expovariate(50)
        arrivals.append(at)
    million = Trace(
        name="million",
        arrivals_seconds=arrivals,
        services_seconds=[rng.expovariate(5) for _ in arrivals],
        duration_seconds=at,
    )
    begun = time.process_time()  # others may use the machine, too
    outcome = simulate(million, scaler(POLICY, TargetWaitPolicy()), MODEL)
    assert (len(outcome.waits_seconds), time.process_time() - begun < 60) == (1_000_000, True)
