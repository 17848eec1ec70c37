"""How fast processes start tasks, as learnt: those that are busy, those that are idle, and new ones.

Pure. Each count is a number of task starts within a horizon, in seconds from now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: (started at, count) of the tasks that run, oldest first.
Runs = Sequence[tuple[float, int]]
#: Share of the mean service time for which a task surely runs on. Tasks that are all alike end together: what
#: has just begun frees no process in time.
_YOUNG_SHARE = 0.9


class Pace(NamedTuple):
    """What a plan has to allow for. Times are seconds; ``caution`` is in standard deviations."""

    service_seconds: float
    start_seconds: float
    tick_seconds: float
    margin_seconds: float
    caution: float

    def freed(self, runs: Runs, at: float, horizon: float) -> float:
        """Starts on processes that are busy now, since the times of ``runs``.

        A task that is younger than most of the service time does not end yet; then each process becomes free
        at a rate of one over the service time.
        """
        young = _YOUNG_SHARE * self.service_seconds
        freed = 0.0
        for since, count in runs:
            old_in = young - (at - since)
            freed += count * (horizon - old_in if old_in > 0 else horizon) if horizon > old_in else 0.0
        freed /= self.service_seconds
        if not self.caution:
            return freed
        return max(0.0, freed - self.caution * math.sqrt(freed))

    def spare(self, spare: int, horizon: float, spare_in: float) -> float:
        """Starts on processes that are idle, or will be ready in ``spare_in``."""
        return spare * self.started(horizon - spare_in) if horizon >= spare_in else 0.0

    def started(self, slack: float) -> float:
        """Starts on one new process within ``slack`` after it is ready."""
        return 1 + max(0.0, slack - _YOUNG_SHARE * self.service_seconds) / self.service_seconds
