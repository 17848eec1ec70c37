"""The work of a group of workers, as counts at one moment. A value, and nothing that reads or decides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autoscaler.core.model import Reason


class Work(NamedTuple):
    """The tasks for a group of workers and the processes that the group has for them.

    ``passing`` is how many of those that wait will need no process when they are fetched, by what was
    seen (:mod:`.passing`). ``unknown`` is why a part could not be read, None where all is known: the counts
    are lower bounds otherwise. ``readable`` is False where not one of the group's queues could be read.
    """

    waiting: int
    reserved: int
    running: int
    processes: int
    passing: int = 0
    unknown: Reason | None = None
    readable: bool = True

    @property
    def complete(self) -> bool:
        """Whether every part was read."""
        return self.unknown is None

    @property
    def tasks(self) -> int:
        """All tasks that a process does or could do now."""
        return self.waiting - self.passing + self.reserved + self.running

    @property
    def load(self) -> float:
        """Tasks per process; infinite where tasks wait and there is no process."""
        if self.processes == 0:
            return math.inf if self.tasks else 0.0
        return self.tasks / self.processes
