"""AG Grid's filter model: simple, compound, set and multi filters by column.

What it means is what AG Grid does with the same model on the client, by default settings (checked against the
source of 36.2): texts ignore letter case; ``notEqual`` and ``notContains`` keep blanks in texts, and leave
them out in numbers and dates; ``inRange`` leaves out both of its ends; a condition whose value is not yet
typed filters nothing; a set filter with nothing ticked leaves no row. One difference: ``equals`` and
``notEqual`` with a date at midnight, which is what its date picker sends, mean that whole day in UTC.
"""

from __future__ import annotations

from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

from docservice.domain.grid.columns import IGNORING_CASE, Column, GridError, Kind, Op, filtered_column, shown
from docservice.domain.grid.conditions import choices, read_datetime, read_number, span
from docservice.domain.grid.json_values import read_list, read_object
from docservice.domain.grid.query import MAX_FILTERS, Choice, Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    Choices = tuple[Choice, ...]

_OPS: Mapping[str, Op] = {
    "equals": Op.EXACT,
    "notEqual": Op.NOT,
    "contains": Op.CONTAINS,
    "notContains": Op.NOT_CONTAINS,
    "startsWith": Op.PREFIX,
    "endsWith": Op.SUFFIX,
    "greaterThan": Op.ABOVE,
    "greaterThanOrEqual": Op.FROM,
    "lessThan": Op.BELOW,
    "lessThanOrEqual": Op.TO,
}
_VALUELESS_OPS: Mapping[str, Op] = {"blank": Op.BLANK, "notBlank": Op.FILLED}
_DAY = timedelta(days=1)
_MAX_DEPTH = 3  # a multi filter within a multi filter is the deepest that AG Grid builds


def filters(model: Mapping[str, Any]) -> list[Choices]:
    """The filters of a model, all of which must hold.

    Raises:
        GridError: for an unknown column or operation, or a wrong value.
    """
    if model.get("filterType") == "join" or "colId" in model:
        raise GridError("filterModel", "the advanced filter is not supported; use column filters")
    if len(model) > MAX_FILTERS:
        raise GridError("filterModel", f"at most {MAX_FILTERS} columns are filtered, not {len(model)}")
    found: list[Choices] = []
    for name, written in model.items():
        column = filtered_column(name, where="filterModel")
        where = f"filterModel.{column.name}"
        if written is not None:
            found += _column_filters(column, read_object(where, written), where, depth=1)
    return found


def _column_filters(column: Column, written: Mapping[str, Any], where: str, *, depth: int) -> list[Choices]:
    if "filterModels" in written:
        if depth > _MAX_DEPTH:
            raise GridError(where, "multi filters are nested too deep")
        parts = read_list(f"{where}.filterModels", written["filterModels"] or [])
        return [
            found
            for part in parts
            if part is not None
            for found in _column_filters(column, read_object(where, part), where, depth=depth + 1)
        ]
    if "values" in written:
        return _set_filter(column, written["values"], f"{where}.values")
    if "operator" in written:
        return _compound_filter(column, written, where)
    single = _condition(column, written, where)
    return [] if single is None else [single]


def _set_filter(column: Column, values: object, where: str) -> list[Choices]:
    """Each ticked value; None and the empty text are what the list shows as blank."""
    if values is None:
        return []
    found: list[Choice] = []
    for value in read_list(where, values):
        blank = value is None or value == ""
        found += choices(column, Op.BLANK if blank else Op.EXACT, value, name=where)
    return [tuple(found)]


def _compound_filter(column: Column, written: Mapping[str, Any], where: str) -> list[Choices]:
    conditions = written.get("conditions")
    if conditions is None:  # as AG Grid wrote it before version 30
        conditions = [written.get("condition1"), written.get("condition2")]
    parts = [
        _condition(column, read_object(where, part), where)
        for part in read_list(f"{where}.conditions", conditions)
        if part is not None
    ]
    complete = [part for part in parts if part is not None]
    if written["operator"] == "AND":
        return complete
    if written["operator"] == "OR":
        return [tuple(choice for part in complete for choice in part)] if complete else []
    raise GridError(f"{where}.operator", f"AND or OR is needed, not {shown(written['operator'])}")


def _condition(column: Column, written: Mapping[str, Any], where: str) -> Choices | None:
    """The alternatives of one condition; None while its value is not complete."""
    kind = written.get("type")
    if kind == "empty":
        return None
    if isinstance(kind, str) and kind in _VALUELESS_OPS:
        return choices(column, _VALUELESS_OPS[kind], None, name=where)
    if kind != "inRange" and (not isinstance(kind, str) or kind not in _OPS):
        legal = ", ".join((*_OPS, "inRange", *_VALUELESS_OPS))
        raise GridError(f"{where}.type", f"no operation {shown(kind)}; there are {legal}")
    first = _given(written, "dateFrom", "filter")
    if first is None:
        return None
    if kind == "inRange":
        return _range(column, first, _given(written, "dateTo", "filterTo"), where)
    op = _OPS[kind]
    if column.kind in (Kind.INTEGER, Kind.DATETIME):
        return _scalar(column, op, first, where)
    if column.kind in (Kind.TEXT, Kind.SET):
        op = IGNORING_CASE.get(op, op)
    return choices(column, op, first, name=where)


def _range(column: Column, first: object, last: object, where: str) -> Choices | None:
    if last is None:
        return None
    above = _scalar(column, Op.ABOVE, first, where)
    below = _scalar(column, Op.BELOW, last, where)
    return tuple((*low, *high) for low in above for high in below)


def _given(written: Mapping[str, Any], *names: str) -> object:
    """The first of the fields that has a value."""
    return next((written[name] for name in names if written.get(name) not in (None, "")), None)


def _scalar(column: Column, op: Op, raw: object, where: str) -> Choices:
    """A comparison of numbers or dates; blanks never pass."""
    if column.kind is Kind.INTEGER:
        found = choices(column, op, read_number(where, raw), name=where)
    else:
        found = choices(column, op, raw, name=where)
        if column.kind is Kind.DATETIME and op in (Op.EXACT, Op.NOT):
            moment = read_datetime(where, raw)
            if moment.time() == time():
                found = span(column, op, moment, _DAY, name=where)
    if op is not Op.NOT:
        return found
    filled = Condition(column.name, Op.FILLED)
    return tuple((*choice, filled) for choice in found if choice != (Condition(column.name, Op.BLANK),))
