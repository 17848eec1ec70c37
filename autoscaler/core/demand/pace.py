"""How fast processes start tasks, as learnt: those that are busy, those that are idle, and new ones.

Pure. Each count is a number of task starts within a horizon, in seconds from now.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Pace(NamedTuple):
    """What a plan has to allow for. Times are seconds; ``caution`` is in standard deviations."""

    service_seconds: float
    start_seconds: float
    tick_seconds: float
    margin_seconds: float
    caution: float

    def freed(self, busy: int, horizon: float) -> float:
        """Starts on processes that are busy now: each becomes free at a rate of one over the service time."""
        freed = busy * horizon / self.service_seconds
        if not self.caution:
            return freed
        return max(0.0, freed - self.caution * math.sqrt(freed))

    def spare(self, spare: int, horizon: float, spare_in: float) -> float:
        """Starts on processes that are idle, or will be ready in ``spare_in``."""
        return spare * (1 + (horizon - spare_in) / self.service_seconds) if horizon >= spare_in else 0.0

    def started(self, slack: float) -> float:
        """Starts on one new process within ``slack`` after it is ready."""
        return 1 + max(0.0, slack) / self.service_seconds
