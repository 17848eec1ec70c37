"""Notices workers that answer and consume nothing, other than those that are emptied on purpose.

Pure but for what it remembers; no I/O and no clock. A worker that has just started, or that is emptied before
a shrink, consumes nothing for a moment, so that it counts only once it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from autoscaler.core.model import Observation, WorkerReading

#: How long a worker consumes nothing before it is reported: longer than records of a drain take to be read.
REPORT_AFTER_SECONDS = 45.0
_FORGET_SECONDS = 3600.0


class WithoutConsumers:
    """Remembers since when each worker consumes nothing."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def note(self, observation: Observation, cancelled: Collection[str]) -> tuple[str, ...]:
        """Take in one tick: the workers that have consumed nothing for long, by name.

        ``cancelled`` are those whose consumers are cancelled by a drain or a quiesce, and will be restored.
        """
        at = observation.at
        present = {reading.name for reading in observation.workers}
        idle = {
            reading.name
            for reading in observation.workers
            if reading.name not in cancelled and _consumes_nothing(reading)
        }
        # A worker that did not answer is as it was last seen.
        self._since = {
            name: since
            for name, since in self._since.items()
            if name not in present and at - since <= _FORGET_SECONDS
        } | {name: self._since.get(name, at) for name in idle}
        return tuple(sorted(name for name in idle if at - self._since[name] >= REPORT_AFTER_SECONDS))


def _consumes_nothing(reading: WorkerReading) -> bool:
    return reading.consuming is False or (reading.queues_known and not reading.queues)
