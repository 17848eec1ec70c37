"""The two demands of the daemon side by side: ``uv run python -m tests.bench.policies``; JSON out, a minute.

Eight generated traces through the daemon's own decider at its defaults: 1 to 64 processes, 1 s to start one,
a target of 5 s, a tick each second. Cost is process-seconds over seconds of work. Which of the two is the
default rests on this.
"""

from __future__ import annotations

import json
import math

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import Policy
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.report import Summary, summarize
from tests.autoscaler.simulation.test_workloads import HELD_OUT

_TARGET_WAIT_SECONDS = 5.0
_MODEL = PoolModel()
_POLICY = Policy(max_processes=_MODEL.max_processes)
DECIDERS = {
    "latency": Decider(
        policy=_POLICY, target_wait=TargetWaitPolicy(target_wait_seconds=_TARGET_WAIT_SECONDS)
    ),
    "thresholds": Decider(policy=_POLICY),
}


def replay(decider: Decider, name: str) -> list[Summary]:
    """What a decider makes of each trace."""
    summaries = []
    for make in HELD_OUT.values():
        scaler = DecidedScaler(decider, name=name, start_seconds=_MODEL.start_seconds)
        summaries.append(summarize(simulate(make(), scaler, _MODEL), _TARGET_WAIT_SECONDS))
    return summaries


def main() -> None:
    result = {}
    for name, decider in DECIDERS.items():
        found = replay(decider, name)
        result[name] = {
            "within_target": dict(zip(HELD_OUT, (round(one.within_target, 4) for one in found), strict=True)),
            "cost": dict(zip(HELD_OUT, (round(one.cost, 2) for one in found), strict=True)),
            "cost_geometric_mean": round(_geometric_mean([one.cost for one in found]), 2),
            "starts_geometric_mean": round(_geometric_mean([float(one.starts) for one in found])),
        }
    print(json.dumps(result, indent=2))


def _geometric_mean(values: list[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    main()
