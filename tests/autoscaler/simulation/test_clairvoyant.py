"""The bound: a plan that knows the future, beside every policy and beside a search of all plans."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import TYPE_CHECKING

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import Policy
from autoscaler.simulation.clairvoyant import clairvoyant
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, ReplayResult, simulate
from autoscaler.simulation.peers import PEERS, Fixed
from tests.support.traces import trace

if TYPE_CHECKING:
    from autoscaler.simulation.traces import Trace

TARGET, WORTH = 5.0, 35.0
SMALL = PoolModel(max_processes=6)


def test_a_process_is_kept_over_a_gap_that_costs_less_than_a_start_and_no_longer():
    spaced = trace((0.0, 9.0), (0.0, 3.0), (20.0, 9.0), (20.0, 3.0), (90.0, 9.0), (90.0, 3.0))
    outcome = clairvoyant(spaced, SMALL, TARGET, start_worth_seconds=30.0)
    assert outcome == ReplayResult(
        scaler="clairvoyant",
        waits_seconds=[0.0] * 6,
        work_seconds=36.0,
        process_seconds=99 + 23 + 1 + 3,
        starts=1,
        changes=3,
        peak_processes=2,
        timeline=[(0.0, 0, 2), (23.0, 0, 1), (89.0, 0, 2), (93.0, 0, 1), (99.0, 0, 1)],
    )


def test_a_task_waits_until_its_deadline_where_that_saves_a_process():
    outcome = clairvoyant(trace((0.0, 4.0), (0.0, 4.0)), SMALL, TARGET, start_worth_seconds=WORTH)
    assert (outcome.waits_seconds, outcome.process_seconds, outcome.starts) == ([0.0, 4.0], 8.0, 0)


def test_tasks_of_a_burst_wait_less_for_each_other_where_a_maximum_would_make_them_late():
    bursts = trace(*[(30.0 * burst + 0.2 * place, 2.0) for burst in range(3) for place in range(13)])
    outcome = clairvoyant(bursts, PoolModel(max_processes=5), TARGET, start_worth_seconds=WORTH)
    fixed = simulate(bursts, Fixed(5), PoolModel(max_processes=5))
    assert (max(fixed.waits_seconds) <= TARGET, max(outcome.waits_seconds) <= TARGET) == (True, True)


def test_what_the_bounds_do_not_allow_in_time_starts_as_early_as_it_can():
    one = PoolModel(max_processes=1)
    outcome = clairvoyant(trace((0.0, 9.0), (0.0, 9.0)), one, TARGET, start_worth_seconds=WORTH)
    assert (outcome.waits_seconds, outcome.peak_processes) == ([0.0, 9.0], 1)


def _price(outcome: ReplayResult, worth: float = WORTH) -> float:
    return outcome.process_seconds + worth * outcome.starts


def _drawn(seed: int) -> Trace:
    """A hundred tasks in bursts and at random, of constant or exponential length."""
    rng = random.Random(seed)
    mean, constant = rng.choice((0.1, 1.0, 5.0, 30.0)), rng.random() < 0.3
    tasks, at = [], 0.0
    while len(tasks) < 100:
        at += rng.expovariate(1 / rng.choice((0.1, 2.0, 30.0)))
        burst = rng.choice((1, 1, 1, 5))
        tasks += [(at, mean if constant else rng.expovariate(1 / mean)) for _ in range(burst)]
    return trace(*tasks, lasts=at + 60)


def _policies(seed: int) -> list[ReplayResult]:
    drawn = _drawn(seed)
    decider = Decider(
        policy=Policy(max_processes=SMALL.max_processes),
        target_wait=TargetWaitPolicy(start_worth_seconds=WORTH),
        min_interval_seconds=0.5,
        interval_seconds=2.0,
    )
    scalers = [DecidedScaler(decider, name="ours", start_seconds=1.0, interval_seconds=2.0)]
    scalers += [peer.make(chosen, SMALL) for peer in PEERS for chosen in product(*peer.parameters(SMALL))]
    return [simulate(drawn, scaler, SMALL) for scaler in scalers]


@pytest.mark.parametrize("seed", range(8))
def test_no_policy_that_starts_every_task_in_time_costs_less(seed: int):
    bound = clairvoyant(_drawn(seed), SMALL, TARGET, start_worth_seconds=WORTH)
    kept = [one for one in _policies(seed) if max(one.waits_seconds) <= TARGET]
    assert [one.scaler for one in kept if _price(one) < _price(bound) - 1e-6] == []


def _cheapest(tasks: list[tuple[int, int]], model: PoolModel, target: int, worth: int) -> float:
    """The least price of all plans that start each task in time, at a whole second, on any process."""
    best = math.inf
    for waits in product(range(target + 1), repeat=len(tasks)):
        jobs = sorted((at + wait, at + wait + takes) for (at, takes), wait in zip(tasks, waits, strict=True))
        for processes in product(range(len(tasks) + 1), repeat=len(tasks)):
            best = min(best, _price_of(jobs, processes, worth + model.start_seconds))
    return best


def _price_of(jobs: list[tuple[int, int]], processes: tuple[int, ...], most: float) -> float:
    """What it costs to run the jobs on these processes; number 0 lasts from the beginning to the end."""
    free: dict[int, int] = {0: 0}
    price = 0.0
    for (begins, ends), process in zip(jobs, processes, strict=True):
        gap = begins - free.get(process, 0)
        if gap < 0:
            return math.inf
        price += (gap if process == 0 else min(gap, most)) + ends - begins
        free[process] = ends
    return price + max(free.values()) - free[0]


def test_the_plan_is_never_below_the_cheapest_of_all_plans_and_near_it():
    model, ratios = PoolModel(max_processes=3), []
    for seed in range(60):
        rng = random.Random(seed)
        tasks = sorted((rng.randrange(12), rng.randrange(1, 7)) for _ in range(3))
        cheapest = _cheapest(tasks, model, 2, 4)
        bound = clairvoyant(trace(*tasks), model, 2.0, start_worth_seconds=4.0)
        assert max(bound.waits_seconds) <= 2
        ratios.append(_price(bound, 4.0) / cheapest)
    near = sum(ratio <= 1 + 1e-9 for ratio in ratios)
    assert (min(ratios) >= 1 - 1e-9, near, max(ratios)) == (True, 49, pytest.approx(4 / 3))
