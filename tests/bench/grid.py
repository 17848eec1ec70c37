"""The target wait over a grid of targets, start times, sizes, service times and shapes, beside fixed sizes.

``uv run python -m tests.bench.grid`` runs every 12th cell, some minutes; ``... --every 1`` all 720 of them.
A cell is a line of JSON; the last line counts the misses. A cell misses where less than 99.9 % of the tasks
start in time although a pool of the maximum size keeps that, or where the processes cost more than 1.3
times the smallest fixed size that keeps it. The first quarter of a trace is not counted: the decider begins
with one process and nothing learnt, a fixed size knows the trace.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from bisect import bisect_left
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import Policy
from autoscaler.settings.table import RUN, pick
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.peers import Fixed
from autoscaler.simulation.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autoscaler.simulation.engine import ReplayResult

TARGETS = (0.5, 1.0, 5.0, 30.0, 300.0)
STARTS = (0.1, 1.0, 5.0, 30.0)
SIZES = (8, 64, 512)
SERVICES = (0.02, 1.0, 20.0, 600.0)
SHAPES = ("steady", "sine", "burst")
SHARE, COST = 0.999, 1.3
#: No more tasks a second: a trace stays small enough to be replayed.
_MAX_RATE = 40.0
_WARM_UP = 0.25
#: The usual time between two looks and the shortest one, as the daemon has them by default.
_INTERVAL, _MIN_INTERVAL = (float(setting.default) for setting in pick(RUN, "interval", "min_interval"))


class Cell(NamedTuple):
    """One place of the grid; times are seconds."""

    target: float
    start: float
    size: int
    service: float
    shape: str

    @property
    def seconds(self) -> float:
        """How long its trace lasts: 30 tasks one after the other, half an hour at least."""
        return max(1800.0, 30 * self.service)

    def trace(self) -> Trace:
        """Tasks that keep half of the processes busy on average, or fewer where they are short."""
        rng = random.Random(f"grid/{self}")
        rate = min(_MAX_RATE, 0.5 * self.size / self.service)
        arrivals = sorted(self._bursts(rng) if self.shape == "burst" else self._waves(rng, rate))
        draw = -(0.5**2) / 2
        services = [self.service * rng.lognormvariate(draw, 0.5) for _ in arrivals]
        return Trace(
            name="/".join(map(str, self)),
            arrivals_seconds=arrivals,
            services_seconds=services,
            duration_seconds=self.seconds,
        )

    def _waves(self, rng: random.Random, rate: float) -> Iterator[float]:
        """At random, at an even rate or at one that goes up and down by half, three times."""
        swing, at = 0.5 if self.shape == "sine" else 0.0, 0.0
        while True:
            at += rng.expovariate(rate * (1 + swing))
            if at >= self.seconds:
                return
            if rng.random() * (1 + swing) < 1 + swing * math.sin(6 * math.pi * at / self.seconds):
                yield at

    def _bursts(self, rng: random.Random) -> Iterator[float]:
        """Twenty of up to half of what the pool can start in time, in three sizes that come in turn."""
        most = min(2000, int(self.size * (1 + self.target / self.service / 2)))
        for burst in range(20):
            begun = self.seconds * (burst + rng.random() / 2) / 20
            for _ in range(max(1, most // (2, 4, 8)[burst % 3])):
                yield begun + rng.random() * min(1.0, self.target / 5)


class Found(NamedTuple):
    """What came of a cell: shares in time, ours and of the maximum size, and the cost against the best size.

    ``best`` is the smallest fixed size that keeps the share, None where the largest does not.
    """

    cell: Cell
    share: float
    fixed_share: float
    best: int | None
    cost: float | None

    @property
    def misses(self) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.share < SHARE <= self.fixed_share:
            found.append("share")
        if self.cost is not None and self.cost > COST:
            found.append("cost")
        return found


def cells(every: int = 1, offset: int = 0) -> list[Cell]:
    """Each ``every``-th of the grid, from the one at ``offset`` on."""
    found = [Cell(*one) for one in product(TARGETS, STARTS, SIZES, SERVICES, SHAPES)]
    random.Random("grid").shuffle(found)
    return found[offset::every]


def play(cell: Cell) -> Found:
    """Run one cell."""
    trace = cell.trace()
    model = PoolModel(max_processes=cell.size, start_seconds=cell.start)
    decider = Decider(
        policy=Policy(max_processes=cell.size),
        target_wait=TargetWaitPolicy(target_wait_seconds=cell.target),
        min_interval_seconds=_MIN_INTERVAL,
        interval_seconds=_INTERVAL,
    )
    scaler = DecidedScaler(decider, name="ours", start_seconds=cell.start, interval_seconds=_INTERVAL)
    ours = simulate(trace, scaler, model)
    warm = bisect_left(trace.arrivals_seconds, _WARM_UP * cell.seconds)
    fixed_share = _share(simulate(trace, Fixed(cell.size), model), warm, cell.target)
    best = _best_size(trace, model, cell.target, warm) if fixed_share >= SHARE else None
    cost = _process_seconds(ours, cell) / (best * (1 - _WARM_UP) * cell.seconds) if best else None
    return Found(cell, _share(ours, warm, cell.target), fixed_share, best, cost)


def _best_size(trace: Trace, model: PoolModel, target: float, warm: int) -> int:
    low, high = 1, model.max_processes
    while low < high:
        middle = (low + high) // 2
        if _share(simulate(trace, Fixed(middle), model), warm, target) >= SHARE:
            high = middle
        else:
            low = middle + 1
    return low


def _share(outcome: ReplayResult, warm: int, target: float) -> float:
    waits = outcome.waits_seconds[warm:]
    return sum(wait <= target for wait in waits) / len(waits) if waits else 1.0


def _process_seconds(outcome: ReplayResult, cell: Cell) -> float:
    """What was paid for between the end of the warm-up and that of the trace."""
    begin, end, paid = _WARM_UP * cell.seconds, cell.seconds, 0.0
    for (at, _, size), (until, *_) in zip(outcome.timeline, outcome.timeline[1:], strict=False):
        paid += size * max(0.0, min(until, end) - max(at, begin))
    return paid


def main() -> None:
    """Run the cells that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=12, help="run each so-manieth cell")
    parser.add_argument("--offset", type=int, default=0, help="begin with this cell: another slice")
    parser.add_argument("--target", type=float, help="only cells with this target")
    given = parser.parse_args()
    misses: dict[str, int] = {"share": 0, "cost": 0}
    chosen = [one for one in cells(given.every, given.offset) if given.target in {None, one.target}]
    for cell in chosen:
        found = play(cell)
        for miss in found.misses:
            misses[miss] += 1
        row = cell._asdict() | found._asdict() | {"misses": found.misses}
        row.pop("cell")
        print(json.dumps(row), flush=True)
    print(json.dumps({"cells": len(chosen), "misses": misses}))


if __name__ == "__main__":
    main()
