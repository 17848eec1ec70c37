"""How fast processes start tasks, as learnt: those that are busy, those that are idle, and new ones.

Pure. Each count is a number of task starts within a horizon, in seconds from now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: (started at, count) of the tasks that run, oldest first.
Runs = Sequence[tuple[float, int]]
#: (ready at, count) of the processes that have been asked for and are not ready.
Starting = Sequence[tuple[float, int]]
#: Share of the mean service time for which a task surely runs on. Tasks that are all alike end together: what
#: has just begun frees no process in time.
YOUNG_SHARE = 0.9
#: What the mean of the service times is mistaken by: over minutes that is more than what one tick changes.
_LONGER = 1.05


class Looks(NamedTuple):
    """When the pool is looked at: ``soonest_seconds`` after a look that finds that a decision is due.

    Where nothing is due the next look comes ``usual_seconds`` later. None where that is not known: looks then
    come at even distances, which are learnt.
    """

    soonest_seconds: float | None = None
    usual_seconds: float | None = None

    @property
    def least_seconds(self) -> float | None:
        """The shortest time between two looks, None where the usual one is not known."""
        if self.usual_seconds is None or self.soonest_seconds is None:
            return self.usual_seconds
        return min(self.usual_seconds, self.soonest_seconds)


UNKNOWN_LOOKS = Looks()


class Pace(NamedTuple):
    """What a plan has to allow for. Times are seconds; ``caution`` is in standard deviations.

    ``start_known`` and ``service_known`` are False until it is learnt how long a start and a task take. Where
    a growth comes too late for every task, ``held_seconds`` is the wait that a size must keep by itself;
    where it does for some, it is not ``in_time``.
    """

    service_seconds: float
    start_seconds: float
    tick_seconds: float
    margin_seconds: float
    caution: float
    start_known: bool = True
    service_known: bool = True
    held_seconds: float | None = None
    in_time: bool = True

    @property
    def growth_seconds(self) -> float:
        """How long a growth takes, late ticks and starts included."""
        return self.start_seconds + self.margin_seconds

    def freed(self, runs: Runs, at: float, horizon: float) -> float:
        """Starts on processes that are busy now, since the times of ``runs``.

        A task that is younger than most of the service time does not end yet; then each process becomes free
        at a rate of one over the service time.
        """
        if not runs:
            return 0.0
        young = YOUNG_SHARE * self.service_seconds
        freed = 0.0
        for since, count in runs:
            old_in = young - (at - since)
            freed += count * (horizon - old_in if old_in > 0 else horizon) if horizon > old_in else 0.0
        freed /= self.service_seconds
        if not self.caution:
            return freed
        return max(0.0, freed - self.caution * math.sqrt(freed))

    def spare(self, spare: int, starting: Starting, at: float, horizon: float) -> float:
        """Starts on ``spare`` processes that are idle, of which some are still ``starting``."""
        if not spare:
            return 0.0
        starts = 0.0
        for ready_at, count in starting if self.held_seconds is None else ():
            spare -= count
            slack = horizon - max(0.0, ready_at - at)
            if slack >= 0:
                starts += count * self.started(slack)
        return starts + spare * self.started(horizon)

    def started(self, slack: float) -> float:
        """Starts on one new process within ``slack`` after it is ready."""
        return 1 + max(0.0, slack - YOUNG_SHARE * self.service_seconds) / self.service_seconds

    def started_later(self, slack: float) -> float:
        """The same of one that is asked for a tick later, where tasks also take longer than is known."""
        service_seconds = self.service_seconds * _LONGER
        return 1 + max(0.0, slack - self.tick_seconds - YOUNG_SHARE * service_seconds) / service_seconds

    def horizon(self, left: float) -> float:
        """Seconds from now within which a task must start that has so many left.

        A task that starts before a process that is asked for now could be ready needs none, where growth
        keeps every target.
        """
        if self.held_seconds is not None:
            return self.held_seconds
        return max(0.0, self.start_seconds - self.margin_seconds if self.in_time else 0.0, left)

    def max_growth(self, processes: int) -> float:
        """How many may be asked for at once: no large pool is held for a guess of the service time."""
        return math.inf if self.held_seconds is None or self.service_known else max(1, processes)

    def slack(self, horizon: float, later: float = 0.0) -> float:
        """What is left of a horizon for a process that is asked for now, below 0 where it is ready later.

        One of a size that is to keep the target by itself would have been there when the first task came, so
        much ``later`` than which this one came.
        """
        return horizon - self.start_seconds if self.held_seconds is None else horizon + later

    def hurries(self, left: float) -> bool:
        """Whether a process for a task that must start in ``left`` seconds must be asked for at this look.

        Nobody waits to the last moment before it is known how long a start takes.
        """
        known = self.start_known and self.held_seconds is None
        return not known or left - self.start_seconds < self.tick_seconds
