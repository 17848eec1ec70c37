"""How commands print: columns, unknown values, times, and the names that exist beside one that does not."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from autoscaler.core.reasons import MEANINGS, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_MAX_LISTED = 10


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the names, as columns of the width of what is in them.

    A character that a terminal would obey rather than show is escaped, whoever put it into a name.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def printable(text: str) -> str:
    """``text`` with each character that is not printable as an escape."""
    return (
        text
        if text.isprintable()
        else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    )


def or_unknown(value: object) -> str:
    """The value, or ``?`` where it is None."""
    return "?" if value is None else str(value)


def moment(seconds: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def legend(reasons: Iterable[str | None]) -> str:
    """What each of these reasons means, a line for each; a reason that is unknown here has none."""
    words = {str(reason) for reason in Reason}
    known = [Reason(reason) for reason in dict.fromkeys(reasons) if reason in words]
    return "\n".join(f"{reason}: {MEANINGS[reason]}" for reason in known)


def existing(what: str, name: str, names: Collection[str]) -> str:
    """The names that exist, called ``what``, and which of them ``name`` was probably meant to be."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _MAX_LISTED} more" if len(ordered) > _MAX_LISTED else ""
    nearest = difflib.get_close_matches(name, ordered, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"{hint}{what}: {', '.join(ordered[:_MAX_LISTED]) or 'none'}{more}"
