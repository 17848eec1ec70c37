"""What a policy would cost that knows the future: a bound to read the distance of a policy from, no rival.

Each task starts by its deadline where the pool's bounds allow it, whatever the order, on the process that
frees last before the deadline. A process is kept over a gap that costs less than another start; one that is
asked for is ready when its first task comes, however long it takes to start. No pool can do that: tasks run
out of order and wait beside idle processes. It is a greedy plan, and not proved to be the cheapest.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from autoscaler.simulation.engine import ReplayResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.simulation.engine import PoolModel
    from autoscaler.simulation.traces import Trace

NAME = "clairvoyant"
#: Shares of the target that a task waits for a process that there is; the first is the cheapest.
_PATIENCE = (1.0, 0.5, 0.25, 0.0)


@dataclass(slots=True)
class _Plan:
    """Processes by when they are free, ascending; the others than the ``lasting`` ones with their birth.

    ``lives`` has (born, gone) of those that are gone.
    """

    model: PoolModel
    worth_seconds: float
    lasting: list[float]
    others: list[tuple[float, float]] = field(default_factory=list)
    lives: list[tuple[float, float]] = field(default_factory=list)
    starts: int = 0

    def place(self, arrival: float, patient: float, deadline: float, service: float) -> float:
        """When a task starts; that is by ``deadline`` unless every process is busy until then.

        It waits until ``patient`` for a process that there is before it asks for another.
        """
        start = self._on_lasting(arrival, patient, service)
        if start is None:
            start = self._on_kept(arrival, patient, service)
        if start is None:
            start = self._on_new(arrival, deadline, service)
        return self._on_first_free(arrival, service) if start is None else start

    def _on_lasting(self, arrival: float, patient: float, service: float) -> float | None:
        """On one that is paid for in any case."""
        place = bisect_right(self.lasting, patient) - 1
        if place < 0:
            return None
        start = max(arrival, self.lasting.pop(place))
        insort(self.lasting, start + service)
        return start

    def _on_kept(self, arrival: float, patient: float, service: float) -> float | None:
        """On one that there is, or that is there from the beginning, where that costs less than a start."""
        place = bisect_right(self.others, (patient, math.inf)) - 1
        if place < 0 and not self._has_room:
            return None
        free, born = self.others[place] if place >= 0 else (0.0, 0.0)
        start = max(arrival, free)
        if start - free >= self.worth_seconds + self.model.start_seconds:
            return None
        if place >= 0:
            self.others.pop(place)
        insort(self.others, (start + service, born))
        return start

    def _on_new(self, arrival: float, deadline: float, service: float) -> float | None:
        ready = max(arrival, self.model.start_seconds)
        born = ready - self.model.start_seconds
        if ready > deadline:
            return None
        if not self._has_room:
            if not self.others or self.others[0][0] > born:
                return None
            self._retire(*self.others.pop(0))
        self.starts += 1
        insort(self.others, (ready + service, born))
        return ready

    def _on_first_free(self, arrival: float, service: float) -> float:
        """On whatever is free first: one of the beginning where there is room, else late."""
        if self._has_room:
            free, born = 0.0, 0.0
        elif not self.others or (self.lasting and self.lasting[0] <= self.others[0][0]):
            start = max(arrival, self.lasting.pop(0))
            insort(self.lasting, start + service)
            return start
        else:
            free, born = self.others.pop(0)
        start = max(arrival, free)
        insort(self.others, (start + service, born))
        return start

    @property
    def _has_room(self) -> bool:
        return len(self.lasting) + len(self.others) < self.model.max_processes

    def _retire(self, free: float, born: float) -> None:
        self.lives.append((born, free))

    def end(self, at: float) -> None:
        """Let every process go once it has no more task, the lasting ones at ``at``."""
        for free, born in self.others:
            self._retire(free, born)
        self.lives += [(0.0, at)] * len(self.lasting)


def clairvoyant(
    trace: Trace, model: PoolModel, target_wait_seconds: float, *, start_worth_seconds: float
) -> ReplayResult:
    """Return the plan for ``trace`` in which a start costs as much as ``start_worth_seconds`` of a process.

    Processes that are there at the beginning are no starts; they are paid for from there. Where a maximum
    makes tasks late, plans are tried too that let them wait less before they ask for a process.
    """
    best: tuple[int, float, ReplayResult] | None = None
    for share in _PATIENCE:
        outcome = _planned(trace, model, target_wait_seconds, start_worth_seconds, share)
        late = sum(wait > target_wait_seconds for wait in outcome.waits_seconds)
        price = outcome.process_seconds + start_worth_seconds * outcome.starts
        if best is None or (late, price) < best[:2]:
            best = (late, price, outcome)
        if not late:
            break
    assert best is not None  # noqa: S101 - for the type checker
    return best[2]


def _planned(
    trace: Trace, model: PoolModel, target_wait_seconds: float, start_worth_seconds: float, share: float
) -> ReplayResult:
    plan = _Plan(model=model, worth_seconds=start_worth_seconds, lasting=[0.0] * model.min_processes)
    arrivals, services = trace.arrivals_seconds, trace.services_seconds
    patient, target = share * target_wait_seconds, target_wait_seconds
    starts = [
        plan.place(arrival, arrival + patient, arrival + target, service)
        for arrival, service in zip(arrivals, services, strict=True)
    ]
    end = max(trace.duration_seconds, *map(sum, zip(starts, services, strict=True)))
    plan.end(end)
    timeline = _timeline(arrivals, sorted(starts), plan.lives, end)
    return ReplayResult(
        scaler=NAME,
        waits_seconds=[start - arrival for start, arrival in zip(starts, arrivals, strict=True)],
        work_seconds=math.fsum(services),
        process_seconds=math.fsum(gone - born for born, gone in plan.lives),
        starts=plan.starts,
        changes=sum(now[2] != before[2] for before, now in pairwise(timeline)),
        peak_processes=max(size for _, _, size in timeline),
        timeline=timeline,
    )


def _timeline(
    arrivals: Sequence[float], starts: Sequence[float], lives: Sequence[tuple[float, float]], end: float
) -> list[tuple[float, int, int]]:
    """Seconds, waiting tasks and size at the beginning, at each change of the size, and at the end."""
    born, gone = (sorted(moments) for moments in zip(*lives, strict=True))
    found = [
        (
            moment,
            bisect_right(arrivals, moment) - bisect_right(starts, moment),
            bisect_right(born, moment) - bisect_right(gone, moment),
        )
        for moment in sorted({0.0, *born, *(moment for moment in gone if moment < end)})
    ]
    return [*found, (end, 0, found[-1][2])]
