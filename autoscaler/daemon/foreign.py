"""Notices that somebody else resizes a worker: a size that this daemon did not ask for, without a restart.

Pure but for what it remembers; no I/O and no clock. A stock pool shows a change up to 5 s late and is short
of a process while a child is replaced, so that a smaller size counts only once it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.core.model import Result

if TYPE_CHECKING:
    from autoscaler.core.model import Observation, WorkerReading

#: How long a foreign resize is reported.
REPORT_SECONDS = 300.0
#: How long after a command its effect may still show, and how long a stock pool may be short of a process.
_SETTLE_SECONDS = 20.0
_FORGET_SECONDS = 3600.0


@dataclass(slots=True)
class _Expected:
    """The sizes that one worker may have, and since when it has none of them."""

    size: int
    uptime_seconds: float | None
    low: int
    high: int
    asked_at: float
    odd_since: float | None = None
    foreign_at: float | None = None


class ForeignResizes:
    """Remembers what was asked of each worker, and when its size last was something else."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}

    def note(self, observation: Observation) -> tuple[str, ...]:
        """Take in one tick: the workers whose size somebody else has changed lately, by name.

        A worker that an administrator holds at a size of their own is left out.
        """
        at = observation.at
        for outcome in observation.outcomes:
            one = self._expected.get(outcome.worker)
            if one is not None and outcome.result is not Result.REFUSED:
                one.low, one.high = min(one.size, outcome.target), max(one.size, outcome.target)
                one.asked_at = at if outcome.settles_at is None else max(at, outcome.settles_at)
        for reading in observation.workers:
            if reading.processes is not None and not reading.unsupported:
                self._look(reading, reading.processes, at)
            if reading.name in observation.override.held_workers and reading.name in self._expected:
                self._expected[reading.name].foreign_at = None
        present = {reading.name for reading in observation.workers}
        self._expected = {
            name: one
            for name, one in self._expected.items()
            if name in present or at - one.asked_at <= _FORGET_SECONDS
        }
        return tuple(
            sorted(
                name
                for name, one in self._expected.items()
                if one.foreign_at is not None and at - one.foreign_at <= REPORT_SECONDS
            )
        )

    def _look(self, reading: WorkerReading, size: int, at: float) -> None:
        one = self._expected.get(reading.name)
        if one is None or _restarted(one, reading):
            self._expected[reading.name] = _Expected(
                size=size, uptime_seconds=reading.uptime_seconds, low=size, high=size, asked_at=at
            )
            return
        one.uptime_seconds = reading.uptime_seconds
        if one.low <= size <= one.high:
            one.odd_since = None
            settled = reading.companion or at - one.asked_at > _SETTLE_SECONDS
            if settled:
                one.size = one.low = one.high = size
            return
        one.odd_since = at if one.odd_since is None else one.odd_since
        may_be_short = not reading.companion and size < one.low
        if may_be_short and at - one.odd_since <= _SETTLE_SECONDS:
            return
        one.size = one.low = one.high = size
        one.odd_since, one.foreign_at = None, at


def _restarted(one: _Expected, reading: WorkerReading) -> bool:
    if one.uptime_seconds is None or reading.uptime_seconds is None:
        return False
    return reading.uptime_seconds < one.uptime_seconds
