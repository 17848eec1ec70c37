"""Cursors: where a page ends, as opaque text that the next query begins behind.

How it works: 6 bytes that identify the sort, then the JSON list of the last row's values of the sort's
columns, in URL-safe base64. A cursor is not signed: its values are checked like those of any filter.
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


def cursor_text(sort: tuple[Sort, ...], last: bytes | str) -> str:
    """The cursor behind a row, from the JSON list of its values in the order of ``sort``."""
    body = last.encode() if isinstance(last, str) else last
    return base64.urlsafe_b64encode(_signature(sort) + body).rstrip(b"=").decode()


def read_cursor(sort: tuple[Sort, ...], cursor: object) -> tuple[Value | None, ...] | None:
    """The values of the last row of the page before, by column of ``sort``; None without a cursor.

    Raises:
        GridError: when it is not the cursor of a page with this sort.
    """
    if cursor is None:
        return None
    try:
        text = cursor if isinstance(cursor, str) else ""
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw[6:].decode()) if raw[:6] == _signature(sort) else None
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(sort):
        raise GridError(
            "cursor", "not the next_cursor of a page with the same sort; ask for the first page again"
        )
    return tuple(_value(COLUMNS[part.column], value) for part, value in zip(sort, values, strict=True))


def _signature(sort: tuple[Sort, ...]) -> bytes:
    written = ",".join(f"{'-' if part.descending else ''}{part.column}" for part in sort)
    return hashlib.sha256(written.encode()).digest()[:6]


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
