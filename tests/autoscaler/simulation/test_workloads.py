"""Generated traces, and what the decision makes of them beside the other policies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.settings.table import RUN, pick
from autoscaler.simulation import workloads
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import simulate
from autoscaler.simulation.peers import PEERS, CeleryAutoscale, size_peer
from autoscaler.simulation.report import summarize
from tests.support.traces import MODEL, POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.engine import PoolModel
    from autoscaler.simulation.peers import Peer

#: The usual time between two looks and the shortest one, as the daemon has them by default.
INTERVAL, MIN_INTERVAL = (float(setting.default) for setting in pick(RUN, "interval", "min_interval"))

HELD_OUT = {
    "on-off": lambda: workloads.on_off(7, 3600.0),
    "flash-crowd": lambda: workloads.flash_crowd(7, 3600.0),
    "tripling": lambda: workloads.tripling(7, 3600.0),
    "tiny-tasks": lambda: workloads.tiny_tasks(7, 1800.0),
    "long-tasks": lambda: workloads.long_tasks(7, 21_600.0),
    "mixture": lambda: workloads.mixture(7, 3600.0),
    "batches": lambda: workloads.batches(7, 5400.0),
    "levels": lambda: workloads.levels(7, 3600.0),
}


def as_usual(peer: Peer) -> Peer:
    """The peer sized in its first parameter, the others at their defaults: what its users do."""

    def parameters(model: PoolModel) -> list[Sequence[float]]:
        first, *others = peer.parameters(model)
        return [first, *(values[:1] for values in others)]

    return replace(peer, parameters=parameters)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_task_starts_in_time_for_less_than_the_cheapest_peer_and_less_than_half_of_celerys_starts():
    """On the geometric mean, all at defaults but for one parameter of each peer.

    Celery's starts are those of 5.5 (5.7 never shrinks while work comes).
    """
    shares, costs, starts = {}, [], []
    for name, make in HELD_OUT.items():
        held_out = make()
        decider = Decider(
            policy=POLICY,
            target_wait=TargetWaitPolicy(),
            min_interval_seconds=MIN_INTERVAL,
            interval_seconds=INTERVAL,
        )
        scaler = DecidedScaler(
            decider,
            name="ours",
            start_seconds=MODEL.start_seconds,
            interval_seconds=INTERVAL,
        )
        ours = summarize(simulate(held_out, scaler, MODEL), 5.0)
        peers = [summarize(size_peer(as_usual(peer), held_out, MODEL, 5.0), 5.0) for peer in PEERS]
        celery = simulate(held_out, CeleryAutoscale(64, MODEL, idle_only=False), MODEL)
        shares[name] = ours.within_target >= 0.999
        costs.append(ours.cost / min(peer.cost for peer in peers if peer.within_target >= 0.99))
        starts.append(ours.starts / celery.starts)
    means = [math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) for ratios in (costs, starts)]
    assert (shares, means[0] <= 0.66, means[1] <= 0.45) == (dict.fromkeys(HELD_OUT, True), True, True)


@pytest.mark.parametrize("make", workloads.WORKLOADS.values(), ids=workloads.WORKLOADS)
def test_a_made_trace_is_the_same_for_the_same_seed(make):
    short = [make(seed, 900.0) for seed in (3, 3, 4)]
    assert (short[0] == short[1], short[0] == short[2]) == (True, False)
