"""Targets for which the usual look is too late, as JSON: ``uv run python -m tests.bench.short_targets``.

Eight generated traces through the daemon's own decider, 1 to 64 processes, a tick every 2 s: once at its
default ``--min-interval``, with which it looks sooner where the target asks for it, and once at fixed
distances, where what was needed within an hour is kept.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import simulate
from autoscaler.simulation.report import summarize
from tests.autoscaler.simulation.test_workloads import HELD_OUT, INTERVAL, MIN_INTERVAL
from tests.support.traces import MODEL, POLICY

if TYPE_CHECKING:
    from autoscaler.simulation.engine import PoolView

#: (target, start) in seconds; the last is the default target.
CASES = ((2.0, 1.0), (2.5, 1.0), (3.0, 1.0), (5.0, 3.5), (5.0, 1.0))


class Ticks(DecidedScaler):
    """Counts how often it is asked."""

    count = 0

    def desired(self, view: PoolView) -> int:
        self.count += 1
        return super().desired(view)


def play(target: float, start: float, min_interval: float) -> dict[str, Any]:
    """Geometric means of cost and starts, the lowest share in time, and the ticks of an hour."""
    found, ticks, hours = [], 0, 0.0
    for make in HELD_OUT.values():
        trace = make()
        decider = Decider(
            policy=POLICY,
            target_wait=TargetWaitPolicy(target_wait_seconds=target),
            min_interval_seconds=min_interval,
            interval_seconds=INTERVAL,
        )
        scaler = Ticks(decider, name="ours", start_seconds=start, interval_seconds=INTERVAL)
        found.append(summarize(simulate(trace, scaler, replace(MODEL, start_seconds=start)), target))
        ticks += scaler.count
        hours += trace.duration_seconds / 3600
    return {
        "cost": round(_mean([one.cost for one in found]), 2),
        "starts": round(_mean([float(one.starts) for one in found])),
        "shares": {name: round(one.within_target, 4) for name, one in zip(HELD_OUT, found, strict=True)},
        "median_share": round(statistics.median(one.within_target for one in found), 4),
        "ticks_an_hour": round(ticks / hours),
    }


def _mean(values: list[float]) -> float:
    return math.exp(math.fsum(math.log(max(value, 0.5)) for value in values) / len(values))


def main() -> None:
    for target, start in CASES:
        for name, min_interval in (("sooner", MIN_INTERVAL), ("fixed", INTERVAL)):
            print(
                json.dumps({f"{target:g} s, start {start:g} s, {name}": play(target, start, min_interval)}),
                flush=True,
            )


if __name__ == "__main__":
    main()
