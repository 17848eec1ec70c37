"""The schemas of grids in the OpenAPI document: rows, pages, and what grid components send.

They follow from the table of columns, so that a generated client has a type for a row and for each filter.
"""

from __future__ import annotations

from typing import Any

from docservice.domain.documents import MODULE_PATTERN
from docservice.domain.grid.columns import COLUMNS, FILTERED, Column, Kind
from docservice.domain.grid.component_body import PAGE_FIELDS
from docservice.domain.grid.query import MAX_CONDITIONS, MAX_FILTERS, MAX_OFFSET, MAX_ROWS, MAX_SORTS

Schema = dict[str, Any]

_EXAMPLE: Schema = {
    "id": 7,
    "document_type": "email",
    "mail_number": "MN-2026-0001",
    "title": "Invoice of March",
    "sender": "Ann <ann@example.org>",
    "file_name": "invoice.eml",
    "content_type": "message/rfc822",
    "size_bytes": 20480,
    "state": "processed",
    "failure": None,
    "pages": None,
    "parent_id": None,
    "received_at": "2026-03-01T12:00:00+00:00",
    "processed_at": "2026-03-01T12:00:02+00:00",
    "sent_at": "2026-03-01T11:59:30+00:00",
    "to_addresses": "bob@example.org",
    "cc_addresses": None,
    "message_id": "<1@example.org>",
}
_AG_TEXT_OPS = ("contains", "notContains", "equals", "notEqual", "startsWith", "endsWith")
_AG_ORDER_OPS = (
    "equals",
    "notEqual",
    "greaterThan",
    "greaterThanOrEqual",
    "lessThan",
    "lessThanOrEqual",
    "inRange",
)
_AG_BLANK_OPS = ("blank", "notBlank", "empty")
_MUI_OPS = (
    *(
        "contains",
        "doesNotContain",
        "equals",
        "doesNotEqual",
        "startsWith",
        "endsWith",
        "is",
        "not",
        "=",
        "!=",
    ),
    *(">", ">=", "<", "<=", "after", "onOrAfter", "before", "onOrBefore", "isEmpty", "isNotEmpty", "isAnyOf"),
)
MODULE: Schema = {
    "name": "module",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": MODULE_PATTERN},
    "description": "In any letter case.",
    "example": "mail",
}
#: `-received_at,title`, of the columns that there are.
SORT_PATTERN = "^(?:-?(?:{names})(?:,-?(?:{names})){{0,{more}}})?$".format(
    names="|".join(COLUMNS), more=MAX_SORTS - 1
)


def ref(name: str) -> Schema:
    """A reference to one of these schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> dict[str, Schema]:
    """All of them, by name."""
    return {
        "GridRow": _row(),
        "GridPage": _page(),
        "GridMeta": _meta(),
        "GridAnswer": _answer(),
        "GridColumnName": {"type": "string", "enum": list(COLUMNS), "title": "GridColumnName"},
        "GridSort": _sort(),
        "GridRequest": _request(),
        "ExportRequest": _export_request(),
        **_ag_grid(),
        **_mui(),
    }


def _object(title: str, properties: dict[str, Schema], *required: str, **more: Any) -> Schema:
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _value(column: Column) -> Schema:
    if column.values:
        return {"type": "string", "enum": list(column.values)}
    if column.kind is Kind.INTEGER:
        found: Schema = {"type": "integer"}
    elif column.kind is Kind.DATETIME:
        found = {"type": "string", "format": "date-time"}
    else:
        found = {"type": "string"}
    return {**found, "type": [found["type"], "null"]} if column.nullable else found


def _row() -> Schema:
    properties = {column.name: {**_value(column), "description": column.label} for column in COLUMNS.values()}
    return _object("GridRow", properties, *COLUMNS, examples=[_EXAMPLE])


def _page() -> Schema:
    return _object(
        "GridPage",
        {
            "rows": {"type": "array", "items": ref("GridRow"), "maxItems": MAX_ROWS},
            "total": {"type": "integer", "minimum": 0},
            "total_capped": {
                "type": "boolean",
                "description": "There are more than `total` rows; `total_estimate` is about how many.",
            },
            "total_estimate": {"type": ["integer", "null"]},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "Null on the last page.",
            },
        },
        *("rows", "total", "total_capped", "total_estimate", "next_cursor"),
    )


def _meta() -> Schema:
    numbers: dict[str, Schema] = {name: {"type": "integer"} for name in ("limit", "offset", "count")}
    texts: dict[str, Schema] = {name: {"type": "string"} for name in ("module", "request_id")}
    return _object("GridMeta", {**texts, **numbers}, *texts, *numbers)


def _answer() -> Schema:
    return _object(
        "GridAnswer",
        {
            "success": {"type": "boolean", "enum": [True]},
            "message": {"type": "null"},
            "error": {"type": "null"},
            "data": ref("GridPage"),
            "meta": ref("GridMeta"),
        },
        *("success", "message", "error", "data", "meta"),
        examples=[
            {
                "success": True,
                "message": None,
                "error": None,
                "data": {
                    "rows": [_EXAMPLE],
                    "total": 1,
                    "total_capped": False,
                    "total_estimate": None,
                    "next_cursor": None,
                },
                "meta": {"module": "mail", "limit": 50, "offset": 0, "count": 1, "request_id": "5f-00000001"},
            }
        ],
    )


def _sort() -> Schema:
    return _object(
        "GridSort",
        {
            "colId": {**ref("GridColumnName"), "description": "As AG Grid names it."},
            "field": {**ref("GridColumnName"), "description": "As MUI names it."},
            "sort": {"type": ["string", "null"], "enum": ["asc", "desc", None]},
        },
        additionalProperties=True,  # AG Grid sends the kind of the sort as well
    )


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _request() -> Schema:
    size = {"type": "integer", "minimum": 1, "maximum": MAX_ROWS}
    empty = {"type": ["array", "null"], "items": {}, "maxItems": 0, "description": "Always empty: no groups."}
    model = _nullable({"anyOf": [ref("AgGridFilterModel"), ref("MuiFilterModel")]})
    return _object(
        "GridRequest",
        {
            "startRow": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_OFFSET,
                "description": "Rows behind the maximum are reached by `cursor`.",
            },
            "endRow": {
                "type": "integer",
                "minimum": 1,
                "description": f"At most {MAX_ROWS} behind startRow.",
            },
            "paginationModel": _object(
                "PaginationModel", {"page": {"type": "integer", "minimum": 0}, "pageSize": size}
            ),
            "filterModel": model,
            "sortModel": _nullable({"type": "array", "items": ref("GridSort"), "maxItems": MAX_SORTS}),
            "cursor": {"type": ["string", "null"]},
            "total": {"type": "string", "enum": ["exact", "capped"], "default": "exact"},
            **dict.fromkeys(("rowGroupCols", "valueCols", "pivotCols", "groupKeys"), empty),
            "pivotMode": {"type": ["boolean", "null"], "description": "False or null: no pivots."},
        },
        examples=[
            {
                "startRow": 0,
                "endRow": 50,
                "filterModel": {
                    "mail_number": {"filterType": "text", "type": "startsWith", "filter": "MN-2026"}
                },
                "sortModel": [{"colId": "received_at", "sort": "desc"}],
            }
        ],
    )


def _export_request() -> Schema:
    """As for a page, without the fields that choose a part of the rows."""

    def without(fields: Schema) -> Schema:
        return {name: value for name, value in fields.items() if name not in PAGE_FIELDS}

    page = _request()
    examples = [without(example) for example in page["examples"]]
    return {**page, "title": "ExportRequest", "properties": without(page["properties"]), "examples": examples}


def _ag_condition(title: str, ops: tuple[str, ...], fields: dict[str, Schema]) -> Schema:
    kind: Schema = {"type": "string", "enum": [*ops, *_AG_BLANK_OPS]}
    return _object(title, {"filterType": {"type": "string"}, "type": kind, **fields}, "type")


def _ag_simple() -> dict[str, Schema]:
    text: Schema = {"type": ["string", "null"]}
    number: Schema = {"type": ["number", "null"]}
    kinds = {
        "Text": _ag_condition("AgGridTextFilter", _AG_TEXT_OPS, {"filter": text}),
        "Number": _ag_condition("AgGridNumberFilter", _AG_ORDER_OPS, {"filter": number, "filterTo": number}),
        "Date": _ag_condition("AgGridDateFilter", _AG_ORDER_OPS, {"dateFrom": text, "dateTo": text}),
    }
    return {f"AgGrid{kind}Filter": schema for kind, schema in kinds.items()}


def _ag_grid() -> dict[str, Schema]:
    found = _ag_simple()
    simple = [ref(name) for name in found]
    compound = _object(
        "AgGridCompoundFilter",
        {
            "filterType": {"type": "string"},
            "operator": {"type": "string", "enum": ["AND", "OR"]},
            "conditions": {"type": "array", "items": {"anyOf": simple}, "maxItems": MAX_CONDITIONS},
        },
        *("operator", "conditions"),
    )
    ticked = _object(
        "AgGridSetFilter",
        {
            "filterType": {"type": "string", "enum": ["set"]},
            "values": {
                "type": ["array", "null"],
                "items": {"type": ["string", "null"]},
                "maxItems": MAX_CONDITIONS,
            },
        },
        "values",
    )
    multi = _object(
        "AgGridMultiFilter",
        {
            "filterType": {"type": "string", "enum": ["multi"]},
            "filterModels": {
                "type": ["array", "null"],
                "items": _nullable({"anyOf": [*simple, ref("AgGridCompoundFilter"), ref("AgGridSetFilter")]}),
            },
        },
        "filterModels",
    )
    found |= {"AgGridCompoundFilter": compound, "AgGridSetFilter": ticked, "AgGridMultiFilter": multi}
    any_filter = _nullable({"anyOf": [ref(name) for name in found]})
    return {**found, "AgGridFilterModel": _object("AgGridFilterModel", dict.fromkeys(FILTERED, any_filter))}


def _mui() -> dict[str, Schema]:
    logic: Schema = {"type": "string", "enum": ["and", "or"]}
    scalar: Schema = {"type": ["string", "number", "null"]}
    item = _object(
        "MuiFilterItem",
        {
            "id": {"type": ["string", "number"]},
            "field": {"type": "string", "enum": list(FILTERED)},
            "operator": {"type": "string", "enum": list(_MUI_OPS)},
            "value": {"anyOf": [scalar, {"type": "array", "items": scalar, "maxItems": MAX_CONDITIONS}]},
        },
        *("field", "operator"),
        additionalProperties=True,
    )
    model = _object(
        "MuiFilterModel",
        {
            "items": {"type": "array", "items": ref("MuiFilterItem"), "maxItems": MAX_FILTERS},
            "logicOperator": logic,
            "quickFilterValues": {"type": "array", "items": scalar, "maxItems": MAX_FILTERS},
            "quickFilterLogicOperator": logic,
            "quickFilterExcludeHiddenColumns": {"type": "boolean"},
        },
        "items",
    )
    return {"MuiFilterItem": item, "MuiFilterModel": model}
