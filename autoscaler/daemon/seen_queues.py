"""Which queues are read on after the last worker that consumed them is gone.

A queue is known by the workers that consume it. When they are gone it may hold messages, and that is when its
depth matters most. No I/O and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscaler.core.model import QueueReading

#: How long a queue that is empty and that nobody consumes is read on.
KEEP_SECONDS = 3600.0
_MAX_QUEUES = 1000


class SeenQueues:
    """The queues that workers have consumed, each with when it was last consumed or held a message."""

    def __init__(self) -> None:
        self._needed_at: dict[str, float] = {}

    @property
    def names(self) -> frozenset[str]:
        """The queues to read on."""
        return frozenset(self._needed_at)

    def note(self, consumed: Iterable[str], queues: Iterable[QueueReading], at: float) -> None:
        """Take in one tick: what is consumed now and what the queues hold, at monotonic seconds.

        A queue whose depth is unknown counts as one that holds messages. The newest are kept of too many.
        """
        self._needed_at |= dict.fromkeys(consumed, at)
        self._needed_at |= {
            queue.name: at for queue in queues if queue.name in self._needed_at and queue.waiting != 0
        }
        newest = sorted(self._needed_at.items(), key=lambda item: item[1], reverse=True)[:_MAX_QUEUES]
        self._needed_at = {name: needed_at for name, needed_at in newest if at - needed_at <= KEEP_SECONDS}
