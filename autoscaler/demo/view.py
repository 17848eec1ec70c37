"""What the demo shows: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 48
_LAST_DECISIONS = 6


class Screen(Protocol):
    """Where the demo is watched."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def show(
        self, status: dict[str, Any] | None, decisions: Sequence[str], *, sent: int, done: int, seconds: float
    ) -> None:
        """The state of this moment."""

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Some rows that stay, below their names."""

    def close_view(self) -> None:
        """End the live part; lines may follow."""


@contextmanager
def open_screen(*, quiet: bool) -> Iterator[Screen]:
    """A live view where standard output is a terminal and rich is installed, else plain lines.

    ``quiet`` writes them to standard error, so that standard output is a program's alone.
    """
    if quiet or not sys.stdout.isatty():
        yield PlainScreen(sys.stderr if quiet else sys.stdout)
        return
    from autoscaler.demo.terminal import LiveScreen  # noqa: PLC0415 - rich is there for terminals alone

    screen = LiveScreen()
    try:
        yield screen
    finally:
        screen.close_view()


def sparkline(values: Sequence[int], highest: int) -> str:
    """One character for each value, its height the value's share of ``highest``."""
    top = max(1, highest)
    return "".join(_BARS[min(len(_BARS) - 1, -(-value * (len(_BARS) - 1) // top))] for value in values)


class Trail:
    """The last values of the two curves."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque(maxlen=_HISTORY)
        self.processes: deque[int] = deque(maxlen=_HISTORY)

    def take(self, status: dict[str, Any]) -> tuple[int, int]:
        """Keep this moment's values and return them: tasks that wait or are reserved, and processes."""
        work = status["groups"][0] if status["groups"] else {"waiting": 0, "reserved": 0}
        waiting, processes = work["waiting"] + work["reserved"], status["workers"][0]["processes"] or 0
        self.waiting.append(waiting)
        self.processes.append(processes)
        return waiting, processes


def last(decisions: Sequence[str]) -> Sequence[str]:
    """As many of the last decisions as are shown."""
    return decisions[-_LAST_DECISIONS:]


class PlainScreen:
    """A line when something has changed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._trail = Trail()
        self._told: tuple[int, int] | None = None
        self._told_decisions = 0
        self._told_at = -1.0

    def say(self, text: str) -> None:
        """One line that stays."""
        print(text, file=self._stream, flush=True)

    def show(
        self, status: dict[str, Any] | None, decisions: Sequence[str], *, sent: int, done: int, seconds: float
    ) -> None:
        """A line for each resize, and one every second while the backlog moves."""
        for decision in decisions[self._told_decisions :]:
            self.say(f"{seconds:5.1f} s  resize: {decision}")
        self._told_decisions = len(decisions)
        if status is None:
            return
        now = self._trail.take(status)
        if now != self._told and seconds - self._told_at >= 1:
            self._told, self._told_at = now, seconds
            self.say(f"{seconds:5.1f} s  waiting {now[0]:4}  processes {now[1]:2}  done {done} of {sent}")

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as what stands in them."""
        self.say(title)
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        for row in (names, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.say(f"  {'  '.join(cells)}".rstrip())

    def close_view(self) -> None:
        """Nothing to end."""
