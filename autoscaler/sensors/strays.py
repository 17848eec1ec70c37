"""Priority lists that hold messages and lie outside the steps by which a queue is read.

A publisher with other ``priority_steps`` than the workers fills lists that no worker takes from and no depth
counts. They are looked for now and then: at a queue's first reading, and at every so many after it. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from redis.exceptions import NoPermissionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

#: Between two looks at the lists of one queue; a minute at the usual interval.
EVERY_READINGS = 30
_MAX_QUEUES = 100
#: Celery's priorities are 0 to 9; 0 is the queue's own list.
_PRIORITIES = range(1, 10)


class Layout(Protocol):
    """How queue names become keys."""

    @property
    def prefix(self) -> str:
        """In front of each key."""

    @property
    def separator(self) -> str:
        """Between a queue's name and a priority."""

    def keys(self, queue: str) -> tuple[str, ...]:
        """The lists that are read for a queue."""


class StrayLists:
    """Remembers which lists outside the steps held messages when each queue was last looked at."""

    def __init__(self) -> None:
        self._readings: dict[str, int] = {}
        self._found: dict[str, tuple[str, ...]] = {}
        self._is_refused = False

    def due(
        self,
        queues: Sequence[str],
        layouts: Mapping[str, Sequence[Layout]],
        default: Layout,
    ) -> list[tuple[str, str]]:
        """The lists to look at in this reading, each with its queue."""
        self._readings = {queue: self._readings.get(queue, -1) + 1 for queue in queues[:_MAX_QUEUES]}
        self._found = {queue: keys for queue, keys in self._found.items() if queue in self._readings}
        if self._is_refused:
            return []
        due = [queue for queue, readings in self._readings.items() if readings % EVERY_READINGS == 0]
        return [(queue, key) for queue in due for key in outside_steps(queue, layouts.get(queue, (default,)))]

    def note(self, looked_at: Sequence[tuple[str, str]], lengths: Iterable[object]) -> None:
        """Take in the lengths of the lists that were looked at; an exception is a list of unknown length.

        Without the right to look at one nobody looks again.
        """
        found: dict[str, list[str]] = {queue: [] for queue, _ in looked_at}
        for (queue, key), length in zip(looked_at, lengths, strict=True):
            if isinstance(length, int) and length > 0:
                found[queue].append(key)
            self._is_refused = self._is_refused or isinstance(length, NoPermissionError)
        self._found |= {queue: tuple(keys) for queue, keys in found.items()}

    def of(self, queue: str) -> tuple[str, ...]:
        """The lists of a queue that held messages at the last look."""
        return self._found.get(queue, ())


def outside_steps(queue: str, layouts: Collection[Layout]) -> tuple[str, ...]:
    """The lists of a queue's priorities that none of its layouts reads."""
    read = {key for layout in layouts for key in layout.keys(queue)}
    keys = (
        f"{layout.prefix}{queue}{layout.separator}{priority}"
        for layout in layouts
        for priority in _PRIORITIES
    )
    return tuple(key for key in dict.fromkeys(keys) if key not in read)
