"""The demo on a terminal, drawn by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscaler.demo.view import Trail, last, sparkline

if TYPE_CHECKING:
    from collections.abc import Sequence


class LiveScreen:
    """A view that is drawn anew in place, with lines that stay above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._trail = Trail()
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)  # to be copied whole

    def show(
        self, status: dict[str, Any] | None, decisions: Sequence[str], *, sent: int, done: int, seconds: float
    ) -> None:
        """The curves, the sizes and the last decisions."""
        if status is None:
            return
        waiting, processes = self._trail.take(status)
        decision = status["decisions"][0]
        table = Table.grid(padding=(0, 2))
        table.add_row("waiting", f"[bold]{waiting:4}[/]", _curve(self._trail.waiting, "yellow"))
        table.add_row("processes", f"[bold]{processes:4}[/]", _curve(self._trail.processes, "green"))
        table.add_row("now", "", f"{decision['action']} because [bold]{decision['reason']}[/]")
        table.add_row("done", f"{done:4}", f"of {sent} sent, {seconds:.0f} s")
        lines = Text("\n".join(last(decisions)) or "no resize yet", style="dim")
        view = Panel(Group(table, Text(), lines), title="autoscaler demo", title_align="left")
        if self._live is None:
            self._live = Live(view, console=self._console, refresh_per_second=8)
            self._live.start()
        self._live.update(view)

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table as rich draws it."""
        self.say(title)  # as a table's own title it would be broken to the table's width
        table = Table(border_style="dim")
        for name in names:
            table.add_column(name)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    def close_view(self) -> None:
        """Leave the last frame in place and stop drawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _curve(values: Sequence[int], style: str) -> Text:
    return Text(sparkline(values, max(values)), style=style)
