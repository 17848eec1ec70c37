"""What the demo shows, without a terminal library: the screen's interface, the curves, and plain lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 48
_LAST_DECISIONS = 6


class Screen(Protocol):
    """Where the demo is watched. ``live``: a person sees each line as it is printed."""

    live: bool

    def say(self, text: str) -> None:
        """One line that stays."""

    def show(
        self, status: dict[str, Any] | None, decisions: Sequence[str], *, sent: int, done: int, seconds: float
    ) -> None:
        """The state of this moment."""

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Some rows that stay, below their names; the first column is never cut."""

    def open_view(self, *, transient: bool) -> None:
        """Begin another live part; a transient one vanishes when it is closed."""

    def close_view(self) -> None:
        """End the live part; lines may follow."""


def sparkline(values: Sequence[int], highest: int) -> str:
    """One character for each value, its height the value's share of ``highest``."""
    top = max(1, highest)
    return "".join(_BARS[min(len(_BARS) - 1, -(-value * (len(_BARS) - 1) // top))] for value in values)


class Curve:
    """The last values of one quantity, drawn on the scale of the highest value ever seen."""

    def __init__(self) -> None:
        self.values: deque[int] = deque(maxlen=_HISTORY)
        self.highest = 0

    def take(self, value: int) -> int:
        """Keep a value and return it."""
        self.values.append(value)
        self.highest = max(self.highest, value)
        return value

    def drawn(self) -> str:
        """The curve as one line of text."""
        return sparkline(self.values, self.highest)


class Trail:
    """The two curves: tasks that wait or are reserved, and processes."""

    def __init__(self) -> None:
        self.waiting = Curve()
        self.processes = Curve()

    def take(self, status: dict[str, Any]) -> tuple[int, int]:
        """Keep this moment's values and return them."""
        work = status["groups"][0] if status["groups"] else {"waiting": 0, "reserved": 0}
        waiting = self.waiting.take((work["waiting"] or 0) + (work["reserved"] or 0))
        return waiting, self.processes.take(status["workers"][0]["processes"] or 0)


def last(decisions: Sequence[str]) -> Sequence[str]:
    """As many of the last decisions as are shown."""
    return decisions[-_LAST_DECISIONS:]


class PlainScreen:
    """A line when something has changed."""

    live = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._trail = Trail()
        self._shown: tuple[int, int] | None = None
        self._shown_decisions = 0
        self._shown_at = -1.0

    def say(self, text: str) -> None:
        """One line that stays."""
        print(text, file=self._stream, flush=True)

    def show(
        self, status: dict[str, Any] | None, decisions: Sequence[str], *, sent: int, done: int, seconds: float
    ) -> None:
        """A line for each resize, and one every second while the backlog moves."""
        for decision in decisions[self._shown_decisions :]:
            self.say(f"{seconds:5.1f} s  resize: {decision}")
        self._shown_decisions = len(decisions)
        if status is None:
            return
        now = self._trail.take(status)
        if now != self._shown and seconds - self._shown_at >= 1:
            self._shown, self._shown_at = now, seconds
            self.say(f"{seconds:5.1f} s  waiting {now[0]:4}  processes {now[1]:2}  done {done} of {sent}")

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as what is in them."""
        self.say(title)
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        for row in (names, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.say(f"  {'  '.join(cells)}".rstrip())

    def open_view(self, *, transient: bool) -> None:
        """Lines have no live part."""

    def close_view(self) -> None:
        """Nothing to end."""
