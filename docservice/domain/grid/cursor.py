"""Cursors: where a page ends, as opaque text that the next query begins behind.

How it works: 6 bytes that identify the sort, then the JSON list of the last row's values of the sort's
columns, in URL-safe base64. Among the ranked rows of a search in texts, the list has before them the row's
rank, and the values of the first match and of the last ranked one by the sort: so no row is ranked for one
page and not for the next. A cursor is not signed: its values are checked like those of any filter.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING

from docservice.domain.grid.columns import COLUMNS, Column, GridError, Kind
from docservice.domain.grid.conditions import read_datetime, read_integer, storable_text

if TYPE_CHECKING:
    from docservice.domain.grid.query import Sort, Value

#: Of any text; -1 is that of a document without a text.
_MIN_RANK, _MAX_RANK = -1, 1_000


def cursor_text(sort: tuple[Sort, ...], last: bytes | str, *, ranked: bool = False) -> str:
    """The cursor behind a row, from the JSON list of its values in the order of ``sort``."""
    body = last.encode() if isinstance(last, str) else last
    return base64.urlsafe_b64encode(_signature(sort, ranked=ranked) + body).rstrip(b"=").decode()


def read_cursor(
    sort: tuple[Sort, ...], cursor: object, *, ranked: bool = False
) -> tuple[Value | None, ...] | None:
    """The values of the last row of the page before, by column of ``sort``; None without a cursor.

    Where that row is ranked, its rank and the values of the first match and the last ranked one are before.

    Raises:
        GridError: when it is not the cursor of a page with this sort.
    """
    if cursor is None:
        return None
    try:
        text = cursor if isinstance(cursor, str) else ""
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw[6:].decode()) if raw[:6] == _signature(sort, ranked=ranked) else None
    except (binascii.Error, ValueError, RecursionError):
        values = None
    rank: tuple[float, ...] = ()
    if ranked and isinstance(values, list) and len(values) == 1 + 3 * len(sort):
        first, *values = values
        if type(first) not in (int, float) or not _MIN_RANK <= first <= _MAX_RANK:
            values = None
        else:
            rank = (first,)
    parts = sort * 3 if rank else sort
    if not isinstance(values, list) or len(values) != len(parts):
        raise GridError(
            "cursor", "not the next_cursor of a page with the same sort; ask for the first page again"
        )
    return (
        *rank,
        *(_value(COLUMNS[part.column], value) for part, value in zip(parts, values, strict=True)),
    )


def _signature(sort: tuple[Sort, ...], *, ranked: bool) -> bytes:
    written = ",".join(f"{'-' if part.descending else ''}{part.column}" for part in sort)
    return hashlib.sha256(f"rank,{written}".encode() if ranked else written.encode()).digest()[:6]


def _value(column: Column, raw: object) -> Value | None:
    if raw is None and column.nullable:
        return None
    if column.kind is Kind.INTEGER:
        return read_integer("cursor", raw)
    if column.kind is Kind.DATETIME:
        return read_datetime("cursor", raw)
    if not isinstance(raw, str):
        raise GridError("cursor", f"a text is needed for {column.name}")
    return storable_text("cursor", raw)  # of any length: stored texts may be longer than a filter's
