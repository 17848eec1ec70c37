"""MUI's filter model: ``items``, ``logicOperator`` and the values of the quick filter.

What it means is what MUI's data grid does with the same model on the client (checked against the source of
9.17): texts are trimmed and ignore letter case, apart from those of single-select operators; negations of
texts and numbers keep blanks, those of dates do not; an item without a value filters nothing. A date at
midnight in UTC, which is what a ``date`` column sends, means the whole day, and any other moment, as a
``dateTime`` column sends, its minute. Each quick filter value is searched in all text columns, and numbers
are compared with it. MUI's ``equals`` ignores accents as well; here it does not.
"""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

from docservice.domain import mail_number
from docservice.domain.grid.columns import (
    COLUMNS,
    IGNORING_CASE,
    VALUELESS_OPS,
    Column,
    GridError,
    Kind,
    Op,
    filtered_column,
    shown,
)
from docservice.domain.grid.conditions import (
    choices,
    read_datetime,
    read_number,
    read_text,
    span,
    with_value,
)
from docservice.domain.grid.json_values import read_list, read_object
from docservice.domain.grid.query import Choice, Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    Choices = tuple[Choice, ...]

_FIELDS = frozenset(
    {
        "items",
        "logicOperator",
        "quickFilterValues",
        "quickFilterLogicOperator",
        "quickFilterExcludeHiddenColumns",
    }
)
#: Operators of string columns, which ignore letter case.
_STRING_OPS: Mapping[str, Op] = {
    "contains": Op.CONTAINS,
    "doesNotContain": Op.NOT_CONTAINS,
    "equals": Op.EXACT,
    "doesNotEqual": Op.NOT,
    "startsWith": Op.PREFIX,
    "endsWith": Op.SUFFIX,
}
#: Operators of single-select, number and date columns.
_OTHER_OPS: Mapping[str, Op] = {
    "is": Op.EXACT,
    "not": Op.NOT,
    "=": Op.EXACT,
    "!=": Op.NOT,
    ">": Op.ABOVE,
    ">=": Op.FROM,
    "<": Op.BELOW,
    "<=": Op.TO,
    "after": Op.ABOVE,
    "onOrAfter": Op.FROM,
    "before": Op.BELOW,
    "onOrBefore": Op.TO,
    "isEmpty": Op.BLANK,
    "isNotEmpty": Op.FILLED,
}
_ANY_OF = "isAnyOf"
_WHOLE_NUMBER = re.compile(r"\s*[+-]?([0-9]{1,19})(?:\.0*)?\s*", re.ASCII)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


def is_model(model: Mapping[str, Any]) -> bool:
    """Whether a filter model is MUI's; no column has the name of one of its fields."""
    return not _FIELDS.isdisjoint(model)


def filters(model: Mapping[str, Any]) -> list[Choices]:
    """The filters of a model, all of which must hold.

    Raises:
        GridError: for an unknown field, column or operator, or a wrong value.
    """
    unknown = sorted(set(model) - _FIELDS)
    if unknown:
        raise GridError("filterModel", f"no field {shown(unknown[0])} beside {', '.join(sorted(_FIELDS))}")
    items = read_list("filterModel.items", model.get("items") or [])
    found = [_item(read_object("filterModel.items", item)) for item in items]
    values = read_list("filterModel.quickFilterValues", model.get("quickFilterValues") or [])
    quick = [_quick(value) for value in values]
    return [
        *_joined(found, model.get("logicOperator"), "filterModel.logicOperator"),
        *_joined(quick, model.get("quickFilterLogicOperator"), "filterModel.quickFilterLogicOperator"),
    ]


def _joined(parts: list[Choices | None], operator: object, where: str) -> list[Choices]:
    if operator not in (None, "and", "or"):
        raise GridError(where, f"and or or is needed, not {shown(operator)}")
    complete = [part for part in parts if part is not None]
    if operator == "or" and complete:
        return [tuple(choice for part in complete for choice in part)]
    return complete


def _item(item: Mapping[str, Any]) -> Choices | None:
    """The alternatives of one item; None while it has no value."""
    column = filtered_column(item.get("field"), where="filterModel.items.field")
    where = f"filterModel.items.{column.name}"
    operator = item.get("operator")
    if not isinstance(operator, str) or operator not in (_ANY_OF, *_STRING_OPS, *_OTHER_OPS):
        legal = ", ".join((*_STRING_OPS, *_OTHER_OPS, _ANY_OF))
        raise GridError("filterModel.items.operator", f"no operation {shown(operator)}; there are {legal}")
    raw = item.get("value")
    if operator == _ANY_OF:
        values = [value for value in read_list(where, raw or []) if value not in (None, "")]
        op = Op.IEXACT if column.kind is Kind.TEXT else Op.EXACT
        return tuple(c for value in values for c in _compared(column, op, value, where)) if values else None
    op = _operation(column, operator)
    if op in VALUELESS_OPS:
        return choices(column, op, None, name=where)
    if isinstance(raw, str) and operator in _STRING_OPS:
        raw = raw.strip()
    return None if raw in (None, "") else _compared(column, op, raw, where)


def _operation(column: Column, operator: str) -> Op:
    if operator not in _STRING_OPS:
        return _OTHER_OPS[operator]
    op = _STRING_OPS[operator]
    return IGNORING_CASE[op] if column.textual and column.kind is not Kind.MAIL_NUMBER else op


def _compared(column: Column, op: Op, raw: object, where: str) -> Choices:
    if column.kind is Kind.INTEGER:
        return choices(column, op, read_number(where, raw), name=where)
    if column.kind is Kind.DATETIME:
        return _dated(column, op, raw, where)
    return choices(column, op, raw.strip() if isinstance(raw, str) else raw, name=where)


def _dated(column: Column, op: Op, raw: object, where: str) -> Choices:
    moment = read_datetime(where, raw)
    if moment.time() == time():
        found = span(column, op, moment, _DAY, name=where)
    elif op in (Op.EXACT, Op.NOT):
        found = span(column, op, moment.replace(second=0, microsecond=0), _MINUTE, name=where)
    else:
        found = ((with_value(column, op, moment),),)
    return tuple(choice for choice in found if choice != (Condition(column.name, Op.BLANK),))


def _quick(raw: object) -> Choices | None:
    """A quick filter value, found in any searched column; None when it is empty."""
    if raw in (None, ""):
        return None
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        raise GridError("filterModel.quickFilterValues", f"texts or numbers are needed, not {shown(raw)}")
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)  # as JavaScript writes it
    text = read_text("filterModel.quickFilterValues", str(raw))
    number = _WHOLE_NUMBER.fullmatch(text)
    found: list[Choice] = []
    for column in COLUMNS.values():
        if column.kind is Kind.INTEGER and number:
            value = -int(number[1]) if "-" in text else int(number[1])
            if abs(value) < 2**63:
                found.append((with_value(column, Op.EXACT, value),))
        elif column.kind is Kind.MAIL_NUMBER:
            try:
                form = mail_number.normalise(text)
            except mail_number.MailNumberError:
                continue  # no mail number has it
            found.append((with_value(column, Op.CONTAINS, form),))
        elif column.textual and column.searched:
            found.append((with_value(column, Op.ICONTAINS, text),))
    return tuple(found)
