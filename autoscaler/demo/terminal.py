"""The demo on a terminal, drawn by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscaler.demo.view import Trail, last

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT_COLUMN = 16


class LiveScreen:
    """A view that is redrawn in place, with lines that stay above it."""

    live = True

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._trail = Trail()
        self._live: Live | None = None
        self._transient = False

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
        # No markup in here: a line that is said while this is drawn has it printed by its own settings.
        table = Table.grid(padding=(0, 2))
        table.add_row(
            "waiting", Text(f"{waiting:4}", style="bold"), Text(self._trail.waiting.drawn(), style="yellow")
        )
        table.add_row(
            "processes",
            Text(f"{processes:4}", style="bold"),
            Text(self._trail.processes.drawn(), style="green"),
        )
        now = Text.assemble(f"{decision['action']} because ", (decision["reason"], "bold"))
        table.add_row("now", "", now)
        table.add_row("done", f"{done:4}", f"of {sent} sent, {seconds:.0f} s")
        lines = Text("\n".join(last(decisions)) or "no resize yet", style="dim")
        view = Panel(Group(table, Text(), lines), title="autoscaler demo", title_align="left")
        if self._live is None:
            self._live = Live(view, console=self._console, refresh_per_second=8, transient=self._transient)
            self._live.start()
        self._live.update(view)

    def table(self, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table as rich draws it."""
        self.say(title)  # as a table's own title it would be broken to the table's width
        table = Table(border_style="dim")
        for column, name in enumerate(names):
            width = max(len(name), *(len(row[column]) for row in rows)) if rows else len(name)
            # Short columns stand whole, at 80 columns too; the long ones share what is left.
            table.add_column(
                name,
                min_width=width if column == 0 else None,
                no_wrap=width <= _SHORT_COLUMN,
                overflow="ellipsis",
            )
        for row in rows:
            table.add_row(*(Text(cell, no_wrap=True) for cell in row))
        self._console.print(table)

    def open_view(self, *, transient: bool) -> None:
        """The next frame begins another view; a transient one vanishes when it is closed."""
        self.close_view()
        self._transient = transient

    def close_view(self) -> None:
        """Stop drawing; the last frame stays unless the view is transient."""
        if self._live is not None:
            self._live.stop()
            self._live = None
