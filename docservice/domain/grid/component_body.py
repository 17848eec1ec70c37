"""The query of a POST, as grid components send it: AG Grid's row models and MUI's data grid, unaltered.

What belongs here: the fields that are common to both. Each client's filter model has a module of its own
(:mod:`ag_grid`, :mod:`mui`), and means there what it means in that client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docservice.domain.grid import ag_grid, mui
from docservice.domain.grid.columns import FILTERED, GridError, column_named, shown
from docservice.domain.grid.conditions import read_integer, require_value
from docservice.domain.grid.cursor import read_cursor
from docservice.domain.grid.json_values import check_storable, read_list, read_object
from docservice.domain.grid.query import (
    DEFAULT_LIMIT,
    MAX_ROWS,
    GridQuery,
    Sort,
    normal_filters,
    normal_sort,
    searches_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docservice.domain.grid.query import Filter

#: AG Grid sends these with every request; they are empty unless the user groups or pivots.
_EMPTY_FIELDS = ("rowGroupCols", "valueCols", "pivotCols", "groupKeys")
#: Fields that choose rows of the result, which an export does not have.
PAGE_FIELDS = frozenset({"startRow", "endRow", "paginationModel", "cursor", "total"})
_FIELDS = PAGE_FIELDS | {"filterModel", "sortModel", "pivotMode", *_EMPTY_FIELDS}


def from_body(module: str, body: object) -> GridQuery:
    """The query of a POST. ``module`` is in its one form already.

    ``startRow`` and ``endRow`` (the end excluded) or ``paginationModel`` (``page`` from 0, ``pageSize``);
    ``filterModel`` by column (AG Grid) or with ``items`` (MUI); ``sortModel`` with ``colId`` or ``field``;
    ``total``, by default ``exact``, since a grid takes it for the number of its rows.

    Raises:
        GridError: for an unknown field, column or operation, or a wrong value.
    """
    fields = read_object("body", body)
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise GridError(unknown[0][:80], f"no such field; there are {', '.join(sorted(_FIELDS))}")
    _refuse_groups(fields)
    offset, limit = _page(fields)
    sorts = _sorts(fields.get("sortModel"))
    sort = normal_sort(sorts)
    filters = _filters(fields.get("filterModel"))
    total = fields.get("total", "exact")
    if total not in ("exact", "capped"):
        raise GridError("total", f"exact or capped is needed, not {shown(total)}")
    ranked = not sorts and searches_text(filters)
    return GridQuery(
        module=module,
        filters=filters,
        sort=sort,
        ranked=ranked,
        limit=limit,
        offset=offset,
        after=read_cursor(sort, fields.get("cursor"), ranked=ranked),
        exact_total=total == "exact",
    )


def from_filter_model(module: str, model: object) -> GridQuery:
    """The query of all rows that a client's filter model leaves, which can be kept as JSON as it is.

    Raises:
        GridError: as :func:`from_body`, for what Postgres cannot hold, also where no filter reads it, and for
            a mistyped state or type: rows that are not in it would be all rows.
    """
    check_storable("filterModel", model)
    filters = _filters(model)
    for item in (item for part in filters for choice in part.choices for item in choice):
        require_value(FILTERED[item.column], item.op, item.text, name=f"filterModel.{item.column}")
    return GridQuery(module=module, filters=filters)


def _filters(raw: object) -> tuple[Filter, ...]:
    model = read_object("filterModel", raw) if raw else {}
    return normal_filters(mui.filters(model) if mui.is_model(model) else ag_grid.filters(model))


def _refuse_groups(fields: Mapping[str, Any]) -> None:
    for name in _EMPTY_FIELDS:
        if fields.get(name) not in (None, []):
            raise GridError(name, "rows cannot be grouped, aggregated or pivoted here; it must be empty")
    if fields.get("pivotMode") not in (None, False):
        raise GridError("pivotMode", "rows cannot be pivoted here; it must be false")


def _page(fields: Mapping[str, Any]) -> tuple[int, int]:
    if fields.get("paginationModel") is not None:
        if "startRow" in fields or "endRow" in fields:
            raise GridError("paginationModel", "give either this or startRow and endRow")
        model = read_object("paginationModel", fields["paginationModel"])
        size = read_integer("paginationModel.pageSize", model.get("pageSize", DEFAULT_LIMIT))
        return read_integer("paginationModel.page", model.get("page", 0)) * size, size
    start = read_integer("startRow", fields.get("startRow", 0))
    end = read_integer("endRow", fields.get("endRow", start + DEFAULT_LIMIT))
    if not 1 <= end - start <= MAX_ROWS:
        raise GridError("endRow", f"1 to {MAX_ROWS} rows behind startRow, not {end - start}")
    return start, end - start


def _sorts(raw: object) -> list[Sort]:
    sorts = []
    for item in read_list("sortModel", raw if raw is not None else []):
        part = read_object("sortModel", item)
        column = column_named(part.get("colId", part.get("field")), where="sortModel")
        direction = part.get("sort")
        if direction is None:  # MUI's third state: not sorted
            continue
        if direction not in ("asc", "desc"):
            raise GridError("sortModel", f"sort is asc or desc, not {shown(direction)}")
        sorts.append(Sort(column=column.name, descending=direction == "desc"))
    return sorts
