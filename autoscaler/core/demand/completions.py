"""How many tasks a group of workers has ended, or what else they count, whoever joins it and leaves it.

Pure. A worker reports how many tasks it has ended since it started. The sum of these over a group jumps by a
worker's whole life when the worker joins or comes back, so only the differences of each worker are added up.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.core.model import WorkerReading


class Completions(NamedTuple):
    """A count that only grows, and what each worker reported when it was last counted.

    ``continuous`` is False where a worker was not counted before, has started anew or is gone: its tasks
    since then are not in the count.
    """

    total: int = 0
    counted: Mapping[str, int] = MappingProxyType({})
    continuous: bool = True

    def add(
        self,
        readings: Sequence[WorkerReading],
        count: Callable[[WorkerReading], int | None] = lambda reading: reading.completed,
        *,
        may_fall: bool = False,
    ) -> Completions | None:
        """The count after these readings; None where a worker does not report how many tasks it ended.

        ``count`` is what else a worker counts, which ``may_fall`` by a few. A worker that was not counted
        before adds nothing yet, nor does one whose count fell.
        """
        counts = {reading.name: count(reading) for reading in readings}
        if counts == self.counted:
            return Completions(self.total, self.counted)
        total, counted, continuous = self.total, {}, self.counted.keys() <= counts.keys()
        for reading in readings:
            name = reading.name
            now, before = counts[name], self.counted.get(name)
            if now is None:
                return None
            counted[name] = now
            if before is None:
                continuous = False
            elif now >= before:
                total += now - before
            elif may_fall:
                continuous = continuous and now >= before - (reading.processes or 0)
            # A stock worker's is the difference of two readings: what began to run in between is missing, and
            # is not to be counted when it is there at the next look.
            elif not reading.companion and now >= before - (reading.busy or 0):
                counted[name] = before
            else:
                continuous = False
        return Completions(total, counted, continuous)
