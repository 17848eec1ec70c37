"""The grid routes in the OpenAPI document, by hand: the framework does not see them."""

from __future__ import annotations

from typing import Any

from docservice.domain.grid.columns import COLUMNS, VALUELESS_OPS
from docservice.domain.grid.http_get import PAGE_PARAMETERS


def openapi_paths(error: dict[str, Any]) -> dict[str, Any]:
    """The paths of these routes; ``error`` is the reference to a failure's schema."""
    failures = _failures(
        error,
        (401, "No token, or one that is unknown, expired or revoked"),
        (403, "The token may not see this module"),
        (422, "An unknown column, operation or parameter, or a wrong value"),
        (503, "Postgres does not answer, or not in time"),
    )
    body_failures = _failures(
        error,
        (400, "The body broke off"),
        (408, "The body came too slowly"),
        (413, "The body is too large"),
        (415, "Not JSON"),
    )
    page = {"description": "A page", "content": {"application/json": {"schema": _PAGE_SCHEMA}}}
    module = {
        "name": "module",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "In any letter case.",
    }
    common = {"tags": ["grids"], "security": [{"HTTPBearer": []}]}
    return {
        "/modules/{module}/grid": {
            "parameters": [module],
            "get": {
                **common,
                "summary": "A page of a grid",
                "operationId": "get_grid",
                "parameters": _parameters(),
                "responses": {"200": page, **failures},
            },
            "post": {
                **common,
                "summary": "A page of a grid, asked as grid components ask",
                "operationId": "post_grid",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _BODY_SCHEMA}}},
                "responses": {"200": page, **failures, **body_failures},
            },
        },
        "/modules/{module}/grid.csv": {"parameters": [module], "get": _export(common, failures)},
    }


def _export(common: dict[str, Any], failures: dict[str, Any]) -> dict[str, Any]:
    return {
        **common,
        "summary": "All rows of a grid as CSV",
        "operationId": "export_grid",
        "parameters": [item for item in _parameters() if item["name"] not in PAGE_PARAMETERS],
        "responses": {
            "200": {"description": "All rows", "content": {"text/csv": {"schema": {"type": "string"}}}},
            **failures,
        },
    }


def _failures(error: dict[str, Any], *answers: tuple[int, str]) -> dict[str, Any]:
    return {
        str(status): {"description": text, "content": {"application/json": {"schema": error}}}
        for status, text in answers
    }


def _parameters() -> list[dict[str, Any]]:
    def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}

    found = [
        parameter("limit", {"type": "integer", "minimum": 1, "maximum": 500}, "Rows of the page."),
        parameter("offset", {"type": "integer", "minimum": 0, "maximum": 1_000_000}, "Rows to leave out."),
        parameter("cursor", {"type": "string"}, "`next_cursor` of the page before."),
        parameter(
            "total", {"enum": ["capped", "exact"]}, "`exact`: also beyond 10,000, if counted within a second."
        ),
        parameter("sort", {"type": "string"}, "`-received_at,title`: columns, `-` for descending."),
    ]
    for column in COLUMNS.values():
        for op in column.operations:
            name = column.name if op == "exact" else f"{column.name}.{op}"
            null = op in VALUELESS_OPS
            schema = {"type": "boolean"} if null else {"type": "array", "items": {"type": "string"}}
            found.append(parameter(name, schema, "Given several times, either is meant."))
    return found


_PAGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["success", "message", "data", "error", "meta"],
    "properties": {
        "success": {"const": True},
        "message": {"type": "null"},
        "error": {"type": "null"},
        "data": {
            "type": "object",
            "required": ["rows", "total", "total_capped", "total_estimate", "next_cursor"],
            "properties": {
                "rows": {"type": "array", "items": {"type": "object", "required": list(COLUMNS)}},
                "total": {"type": "integer"},
                "total_capped": {
                    "type": "boolean",
                    "description": "There are more than `total` rows; `total_estimate` is about how many.",
                },
                "total_estimate": {"type": ["integer", "null"]},
                "next_cursor": {"type": ["string", "null"]},
            },
        },
        "meta": {"type": "object", "required": ["request_id", "module", "limit", "offset", "count"]},
    },
}
_BODY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "startRow": {"type": "integer", "minimum": 0},
        "endRow": {"type": "integer", "minimum": 1},
        "paginationModel": {"type": "object"},
        "filterModel": {"type": ["object", "null"]},
        "sortModel": {"type": ["array", "null"], "items": {"type": "object"}},
        "cursor": {"type": ["string", "null"]},
        "total": {"enum": ["exact", "capped"], "default": "exact"},
        **{
            name: {"type": ["array", "null"], "maxItems": 0, "description": "Sent by AG Grid; always empty."}
            for name in ("rowGroupCols", "valueCols", "pivotCols", "groupKeys")
        },
        "pivotMode": {"enum": [False, None]},
    },
    "example": {
        "startRow": 0,
        "endRow": 50,
        "filterModel": {"mail_number": {"filterType": "text", "type": "startsWith", "filter": "MN-2026"}},
        "sortModel": [{"colId": "received_at", "sort": "desc"}],
    },
}
