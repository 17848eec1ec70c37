"""The query of a GET, from its parameters.

``state=received&state=failed`` means either, ``mail_number.prefix=MN-20`` an operation other than ``exact``,
``title.blank=true`` or ``title.filled=false`` those without a title, ``sort=-received_at,title`` the latest
first, ``total=exact`` the exact total. Texts are compared by code point unless the operation begins with
``i``. ``text.contains=invoice`` searches the texts of documents, best matches first unless ``sort`` is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from docservice.domain.grid.columns import (
    FILTERED,
    VALUELESS_OPS,
    Column,
    GridError,
    Op,
    column_named,
    filtered_column,
    shown,
)
from docservice.domain.grid.conditions import (
    legal_choices,
    read_integer,
    require_operation,
    require_value,
)
from docservice.domain.grid.cursor import read_cursor
from docservice.domain.grid.query import (
    DEFAULT_LIMIT,
    MAX_CONDITIONS,
    MAX_FILTERS,
    GridQuery,
    Sort,
    normal_filters,
    normal_sort,
    searches_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docservice.domain.grid.query import Choice

#: Parameters that choose rows of the result, which an export does not have.
PAGE_PARAMETERS = frozenset({"limit", "offset", "cursor", "total"})
_PARAMETERS = PAGE_PARAMETERS | {"sort"}
_OPS = {"": Op.EXACT, **{op.value: op for op in Op}}
_BY_NAME = {
    column.name if op is Op.EXACT else f"{column.name}.{op}": (column, op)
    for column in FILTERED.values()
    for op in column.operations
}
#: Of several values for one of these, all must hold: either would exclude nothing.
_NEGATIVE_OPS = frozenset({Op.NOT, Op.INOT, Op.NOT_CONTAINS, Op.INOT_CONTAINS})


def from_parameters(module: str, parameters: Iterable[tuple[str, str]]) -> GridQuery:
    """The query of a GET. ``module`` is in its one form already.

    Raises:
        GridError: for an unknown parameter, column or operation, or a wrong value.
    """
    page: dict[str, str] = {}
    found: dict[tuple[str, Op], list[list[Choice]]] = {}
    for name, raw in parameters:
        if name in _PARAMETERS:
            if name in page:
                raise GridError(name, "given more than once")
            page[name] = raw
            continue
        column, op = _BY_NAME.get(name) or _spelled_out(name)
        if op in VALUELESS_OPS:
            op = _valueless(op, name, raw)
        require_value(column, op, raw, name=name)
        given = legal_choices(column, op, raw, name=name)
        groups = found.get((column.name, op))
        if groups is None:
            found[column.name, op] = [[*given]]
            continue
        if op in _NEGATIVE_OPS:
            groups.append([*given])
        else:
            groups[0] += given
        if sum(map(len, groups)) > 3 * MAX_CONDITIONS:
            raise GridError(column.name, f"at most {MAX_CONDITIONS} values for an operation of a column")
    if len(found) > MAX_FILTERS and len({column for column, _ in found}) > MAX_FILTERS:
        raise GridError("filters", f"at most {MAX_FILTERS} columns are filtered")
    sorts = _sorts(page["sort"]) if "sort" in page else []
    sort = normal_sort(sorts)
    filters = normal_filters([group for groups in found.values() for group in groups])
    ranked = not sorts and searches_text(filters)
    return GridQuery(
        module=module,
        filters=filters,
        sort=sort,
        ranked=ranked,
        limit=read_integer("limit", page["limit"]) if "limit" in page else DEFAULT_LIMIT,
        offset=read_integer("offset", page["offset"]) if "offset" in page else 0,
        after=read_cursor(sort, page.get("cursor"), ranked=ranked),
        exact_total=_exact_total(page.get("total", "capped")),
    )


def _valueless(op: Op, name: str, raw: str) -> Op:
    """The operation that "blank" or "filled" means with this value."""
    if raw not in ("true", "false"):
        raise GridError(name, f"true or false is needed, not {shown(raw)}")
    if raw == "true":
        return op
    return Op.FILLED if op is Op.BLANK else Op.BLANK


def _spelled_out(name: str) -> tuple[Column, Op]:
    """The column and operation of a parameter that is written in another way, or is at fault."""
    column_name, _, suffix = name.partition(".")
    column = filtered_column(column_name, where=name[:80])
    op = _OPS.get(suffix)
    if op is None:
        raise GridError(name[:80], f"no operation {shown(suffix)}; there are {', '.join(Op)}")
    require_operation(column, op, name=name[:80])
    return column, op


def _exact_total(raw: str) -> bool:
    if raw not in ("exact", "capped"):
        raise GridError("total", f"exact or capped is needed, not {shown(raw)}")
    return raw == "exact"


def _sorts(text: str) -> list[Sort]:
    parts = [part.strip() for part in text.split(",")] if text else []
    return [
        Sort(column=column_named(part.removeprefix("-"), where="sort").name, descending=part.startswith("-"))
        for part in parts
    ]
