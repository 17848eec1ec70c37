"""How the periods of the loop follow from its interval. Seconds, and nothing that waits or reads a clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The pace of the loop, in seconds."""

    interval_seconds: float = 2.0
    inspect_timeout_seconds: float = 1.5
    min_interval_seconds: float = 0.5

    def next_at(self, started: float, due_at: float) -> float:
        """When to tick after the tick that ``started``, where its plan says that a decision is ``due_at``.

        All in monotonic seconds: not sooner than the shortest interval, and not later than the usual one.
        """
        soonest = started + min(self.min_interval_seconds, self.interval_seconds)
        return min(started + self.interval_seconds, max(soonest, due_at))

    @property
    def fresh_seconds(self) -> float:
        """How old an observation may be when an action is sent on it: a slow observation, and no more."""
        return max(5.0, 2 * (self.interval_seconds + self.inspect_timeout_seconds))

    @property
    def lease_seconds(self) -> float:
        """How long the lease outlives its holder: longer than an observation is fresh."""
        return max(10.0, self.fresh_seconds + self.interval_seconds)

    @property
    def live_seconds(self) -> float:
        """How long the loop may take between two ticks before it counts as stuck."""
        return max(30.0, 5 * self.interval_seconds)

    @property
    def ready_seconds(self) -> float:
        """How old the last good reading of Redis may be."""
        return max(6.0, 3 * self.interval_seconds)

    def status_seconds(self, tick_seconds: float) -> float:
        """How long the stored status lasts after a tick of that length: three more such ticks.

        The next tick may wait for a worker that does not answer, however quick this one was.
        """
        return 3 * max(self.interval_seconds, tick_seconds, self.inspect_timeout_seconds)
