"""How long a process takes to start, from what each worker reported of its last growths.

Pure. A worker reports how long its last growth took. One that was slow says little of the next: the machine
was busy. So each worker's is the middle one of its last growths, and the slowest worker's counts.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.core.model import WorkerReading

#: Growths of each worker that are remembered: a second slow one in a row is believed.
_REMEMBERED = 3


class Starts(NamedTuple):
    """The last growths of each worker, by its name, the newest last, in seconds."""

    recent: Mapping[str, tuple[float, ...]] = MappingProxyType({})

    def add(self, readings: Iterable[WorkerReading]) -> Starts:
        """The same after these readings; a worker that reports none is forgotten.

        Where none reports any, as after a restart, a start takes as long as it took.
        """
        recent = {}
        for reading in readings:
            seconds = reading.start_seconds
            if seconds is not None:
                before = self.recent.get(reading.name, ())
                same = before and before[-1] == seconds
                recent[reading.name] = before if same else (*before, seconds)[-_REMEMBERED:]
        return Starts(recent) if recent else self

    @property
    def seconds(self) -> float | None:
        """How long to expect a start to take, None where none was reported."""
        # A fleet has many workers and few different pasts.
        return max(map(_middle, set(self.recent.values())), default=None)


def _middle(values: tuple[float, ...]) -> float:
    """The middle one by size, of two the smaller."""
    return sorted(values)[(len(values) - 1) // 2]
