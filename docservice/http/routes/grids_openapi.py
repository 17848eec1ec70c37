"""The grid routes in the OpenAPI document, by hand: the framework does not see them."""

from __future__ import annotations

from typing import Any

from docservice.domain.grid.columns import FILTERED, VALUELESS_OPS, Column, Kind, Op
from docservice.domain.grid.conditions import MAX_CHARACTERS
from docservice.domain.grid.http_get import PAGE_PARAMETERS
from docservice.domain.grid.query import MAX_CONDITIONS, MAX_OFFSET
from docservice.http.routes.grids_schemas import MODULE, SORT_PATTERN, ref


def openapi_paths(error: dict[str, Any]) -> dict[str, Any]:
    """The paths of these routes; ``error`` is the reference to a failure's schema."""
    failures = _failures(
        error,
        (401, "No token, or one that is unknown, expired or revoked"),
        (403, "The token may not see this module"),
        (404, "There is no such module, for a token that may see all of them"),
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
    page = {"description": "A page", "content": {"application/json": {"schema": ref("GridAnswer")}}}
    common = {"tags": ["grids"], "security": [{"HTTPBearer": []}]}
    return {
        "/modules/{module}/grid": {
            "parameters": [MODULE],
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
                "requestBody": _body("GridRequest"),
                "responses": {"200": page, **failures, **body_failures},
            },
        },
        "/modules/{module}/grid.csv": {
            "parameters": [MODULE],
            "get": _export(common, failures),
            "post": _export_by_request(common, {**failures, **body_failures}),
        },
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


def _body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": ref(schema)}}}


def _export_by_request(common: dict[str, Any], failures: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: part for name, part in _export(common, failures).items() if name != "parameters"},
        "summary": "All rows of a grid as CSV, asked as grid components ask",
        "operationId": "export_grid_by_request",
        "requestBody": _body("ExportRequest"),
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
        parameter(
            "offset",
            {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET},
            "Rows to leave out; rows behind the maximum are reached by `cursor`.",
        ),
        parameter("cursor", {"type": "string"}, "`next_cursor` of the page before."),
        parameter(
            "total", {"enum": ["capped", "exact"]}, "`exact`: also beyond 10,000, if counted within a second."
        ),
        parameter(
            "sort",
            {"type": "string", "pattern": SORT_PATTERN},
            "`-received_at,title`: columns, `-` for descending.",
        ),
    ]
    for column in FILTERED.values():
        for op in column.operations:
            name = column.name if op is Op.EXACT else f"{column.name}.{op}"
            found.append(parameter(name, _filter(column, op), "Given several times, either is meant."))
    return found


def _filter(column: Column, op: Op) -> dict[str, Any]:
    if op in VALUELESS_OPS:
        return {"type": "boolean"}
    if column.kind is Kind.INTEGER:
        value: dict[str, Any] = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    elif column.kind is Kind.DATETIME:
        value = {"type": "string", "format": "date-time"}
    elif column.values and op in (Op.EXACT, Op.NOT):
        value = {"type": "string", "enum": list(column.values)}
    else:
        value = {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}
    return {"type": "array", "items": value, "maxItems": MAX_CONDITIONS}
