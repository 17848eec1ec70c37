"""The target wait at default settings beside the other policies, as geometric means over traces.

    uv run python -m tests.bench.back_test                         the eight generated traces
    uv run python -m tests.bench.back_test --trace FILE ...        and these (`offset_s,service_s`)

1 to 64 processes, 1 s to start one, a target of 5 s. Cost is process-seconds against those of the cheapest
other policy that keeps the target for 99 % of the tasks, starts are against those of `celery --autoscale` up
to 5.5. First each policy is sized in its first parameter, the others at their defaults, and Celery's starts
are those with a maximum of 64; then each is sized in all parameters, as `autoscaler simulate` does. The last
row is a plan that knows the future.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.simulation.clairvoyant import clairvoyant
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import simulate
from autoscaler.simulation.peers import PEERS, CeleryAutoscale, size_peer
from autoscaler.simulation.report import Summary, summarize
from autoscaler.simulation.traces import parse_tasks
from tests.autoscaler.simulation.test_workloads import HELD_OUT, INTERVAL, MIN_INTERVAL, as_usual
from tests.support.traces import MODEL, POLICY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.simulation.traces import Trace

TARGET_SECONDS = 5.0
START_WORTH_SECONDS = TargetWaitPolicy().start_worth_seconds
COLUMNS = ("cost", "starts", "cost, all sized", "starts, all sized")


def ours(trace: Trace) -> Summary:
    """The daemon's own decider at its defaults."""
    decider = Decider(
        policy=POLICY,
        target_wait=TargetWaitPolicy(),
        min_interval_seconds=MIN_INTERVAL,
        interval_seconds=INTERVAL,
    )
    scaler = DecidedScaler(decider, name="ours", start_seconds=MODEL.start_seconds, interval_seconds=INTERVAL)
    return summarize(simulate(trace, scaler, MODEL), TARGET_SECONDS)


def cheapest(summaries: Iterable[Summary]) -> float:
    """The least cost of those that keep the target."""
    return min(one.cost for one in summaries if one.within_target >= 0.99)


def ratios(trace: Trace, found: Summary, bound: Summary) -> list[tuple[float, ...]]:
    """Those of one trace, for ours and for the bound, in the order of the columns."""
    usual = [
        summarize(size_peer(as_usual(peer), trace, MODEL, TARGET_SECONDS), TARGET_SECONDS) for peer in PEERS
    ]
    sized = [
        summarize(
            size_peer(peer, trace, MODEL, TARGET_SECONDS, start_worth_seconds=START_WORTH_SECONDS),
            TARGET_SECONDS,
        )
        for peer in PEERS
    ]
    of_64 = simulate(trace, CeleryAutoscale(64, MODEL, idle_only=False), MODEL).starts
    celery = next(one.starts for one, peer in zip(sized, PEERS, strict=True) if peer.name == CELERY)
    against = (cheapest(usual), of_64, cheapest(sized), celery)
    return [
        tuple(figure / other for figure, other in zip((one.cost, one.starts) * 2, against, strict=True))
        for one in (found, bound)
    ]


CELERY = next(peer.name for peer in PEERS if "5.5" in peer.name)


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logarithms = [math.log(value) for value in values]
    return math.exp(math.fsum(logarithms) / len(logarithms))


def main() -> None:
    """Run, and print a row for each trace and the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, action="append", default=[], help="a trace of one's own")
    traces = {name: make() for name, make in HELD_OUT.items()}
    for path in parser.parse_args().trace:
        with path.open() as lines:
            traces[path.name] = parse_tasks(lines, path.name)
    print("| trace | in time |", " | ".join(COLUMNS), "|\n|---|---|---|---|---|---|")
    rows, bounds, lowest = [], [], 1.0
    for name, trace in traces.items():
        found = ours(trace)
        bound = summarize(
            clairvoyant(trace, MODEL, TARGET_SECONDS, start_worth_seconds=START_WORTH_SECONDS), TARGET_SECONDS
        )
        row, of_bound = ratios(trace, found, bound)
        rows.append(row)
        bounds.append(of_bound)
        lowest = min(lowest, found.within_target)
        print(_row(name, f"{found.within_target:.2%}", row), flush=True)
    print(_row("geometric mean", f"{lowest:.2%} at least", map(mean, zip(*rows, strict=True))))
    print(_row("a plan that knows the future", "", map(mean, zip(*bounds, strict=True))))


def _row(name: str, in_time: str, figures: Iterable[float]) -> str:
    return f"| {name} | {in_time} | {' | '.join(f'{figure:.3f}' for figure in figures)} |"


if __name__ == "__main__":
    main()
