"""AG Grid and MUI X in Chromium, set up as docs/grid-clients.md says, find what they find by themselves.

For every kind of column and every operator that its filter offers by default: one grid asks the service,
another of the same kind has all rows and filters them itself. The ids must be the same.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.support.browser import running_chromium
from tests.support.npm import install
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Tab

Live = Any  # of conftest
DOCS = Path(__file__).parents[3] / "docs" / "grid-clients.md"
#: Title, sender, mail number, pages, state, time of receipt.
ROWS = (
    ("abc", "x@example.org", "MN-2026-0001", 1, "processed", "2026-01-01T00:00:00Z"),
    ("ABC and more", None, "MN-2026-0002", 2, "failed", "2026-01-01T10:30:00Z"),
    ("other abc", "y@example.org", "KX-7", 3, "received", "2026-01-02T00:00:00Z"),
    ("", "Y@Example.org", None, None, "processed", "2025-12-31T23:59:00Z"),
    ("100% sure_\\'\"", "z", "KX-70", 10, "failed", "2026-01-03T00:00:00Z"),
    ("\u00c4pfel", "", "MN-1", 0, "processing", "2026-01-03T12:00:00Z"),
)
AG_COMMUNITY = {
    "ag-grid-community@36.2.0": (
        "tK0Toj7t0fV/OMLPnDc0xlYKAqDbnCT3iJodYSn2TJ541caU8jPdYwWhMdW+AP2+pUNwFiJVgc04eJNfvBPsWw=="
    )
}
AG_ENTERPRISE = {
    "ag-grid-enterprise@36.2.0": (
        "xwc8yVqjSaJPb0sPzFeLoidtF+cGBMyqXQHmkRzuBj1o44cibCoTP3ICshhc5upfc+ewhSYknBC8KPxcB+d0Ag=="
    )
}
_TEXT_OPS = ("contains", "notContains", "equals", "notEqual", "startsWith", "endsWith")
_NUMBER_OPS = ("equals", "notEqual", "greaterThan", "greaterThanOrEqual", "lessThan", "lessThanOrEqual")
_DATE_OPS = ("equals", "notEqual", "lessThan", "greaterThan")


def ag_models() -> list[dict[str, Any]]:
    """Every default operator of every kind of column, alone, and some of them joined."""
    return [*_ag_single(), *_ag_joined()]


def _ag_single() -> list[dict[str, Any]]:  # noqa: C901 - a list, written as loops
    found: list[dict[str, Any]] = []

    def add(column: str, **condition: Any) -> None:
        found.append({column: condition})

    for op in _TEXT_OPS:
        for column, values in (
            ("title", ("abc", "ABC", "%", "\u00e4")),
            ("mail_number", ("mn-2026", "KX-7")),
        ):
            for value in values:
                add(column, filterType="text", type=op, filter=value)
        add("sender", filterType="text", type=op, filter="y@example.org")
    for op in _NUMBER_OPS:
        for value in (0, 2, 2.5):
            add("pages", filterType="number", type=op, filter=value)
    add("pages", filterType="number", type="inRange", filter=0, filterTo=3)
    for op in _DATE_OPS:
        for day in ("2026-01-01", "2026-01-03"):
            add("received_at", filterType="date", type=op, dateFrom=f"{day} 00:00:00", dateTo=None)
    add(
        "received_at",
        filterType="date",
        type="inRange",
        dateFrom="2026-01-01 00:00:00",
        dateTo="2026-01-03 00:00:00",
    )
    for column in ("title", "sender", "mail_number", "pages", "received_at"):
        kind = {"pages": "number", "received_at": "date"}.get(column, "text")
        for op in ("blank", "notBlank"):
            add(column, filterType=kind, type=op)
    return found


def _ag_joined() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for operator in ("AND", "OR"):
        conditions = [
            {"filterType": "number", "type": "inRange", "filter": 0, "filterTo": 3},
            {"filterType": "number", "type": "notEqual", "filter": 2},
        ]
        found.append({"pages": {"filterType": "number", "operator": operator, "conditions": conditions}})
        texts = [{"filterType": "text", "type": op, "filter": "abc"} for op in ("startsWith", "notContains")]
        found.append({"title": {"filterType": "text", "operator": operator, "conditions": texts}})
    found.append(
        {
            "title": {"filterType": "text", "type": "contains", "filter": "a"},
            "pages": {"filterType": "number", "type": "lessThan", "filter": 3},
        }
    )
    return found


#: What both pages of AG Grid do: note each answer, ask for a model, and filter all rows in another grid.
AG_HARNESS = """
let answered = 0, last = null;
const plainFetch = window.fetch;
window.fetch = async (...asked) => {
  const answer = await plainFetch(...asked);
  const {data, error} = await answer.clone().json();
  last = data ? data.rows.map((row) => row.id).sort((a, b) => a - b) : error.detail;
  answered += 1;
  return answer;
};
const day = (text) => new Date(text.slice(0, 10) + "T00:00:00");
const exact = (text) => new Date(text.slice(0, 19));
const mine = agGrid.createGrid(document.getElementById("mine"), {
  columnDefs: [
    {field: "mail_number", filter: "agTextColumnFilter"},
    {field: "title", filter: "agTextColumnFilter"},
    {field: "sender", filter: "agTextColumnFilter"},
    {field: "state", filter: "agTextColumnFilter"},
    {field: "pages", filter: "agNumberColumnFilter"},
    {colId: "received_at", filter: "agDateColumnFilter", valueGetter: ({data}) => exact(data.received_at)},
    {colId: "day", filter: "agDateColumnFilter", valueGetter: ({data}) => day(data.received_at)},
  ],
  rowData: ALL,
});
async function until(condition) {
  const end = Date.now() + 60000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("nothing was answered");
    await new Promise((go) => setTimeout(go, 5));
  }
}
async function compare(models) {
  await until(() => answered > 0);
  const wrong = [];
  for (const model of models) {
    const before = answered;
    grid.setFilterModel(model);
    await until(() => answered > before);
    const own = {...model};
    // A date picker's date with equals and notEqual means the whole day.
    if (own.received_at && /qual/.test(own.received_at.type)) {
      own.day = own.received_at;
      delete own.received_at;
    }
    mine.setFilterModel(own);
    await new Promise((go) => setTimeout(go, 0));
    const ids = [];
    mine.forEachNodeAfterFilter((node) => ids.push(node.data.id));
    ids.sort((a, b) => a - b);
    if (JSON.stringify(ids) !== JSON.stringify(last)) wrong.push({model, client: ids, service: last});
  }
  return wrong;
}
"""


@pytest.fixture(scope="module")
def rows(live: Live) -> list[dict[str, Any]]:
    """All rows, as the service shows them."""

    async def fill() -> None:
        connection = await asyncpg.connect(live.database_url)
        await connection.executemany(
            "insert into documents (module, document_type, title, sender, mail_number, pages, state,"
            " received_at, file_name, content_type, size_bytes, sha256, blob_key) values"
            " ('mail', 'email', $1, $2, $3, $4, $5, $6::text::timestamptz, 'f.eml', 't/p', 9, 's', 'k')",
            ROWS,
        )
        await connection.close()

    asyncio.run(fill())
    with live.client("viewer") as client:
        found: list[dict[str, Any]] = client.get("/modules/mail/grid?limit=500").json()["data"]["rows"]
    assert len(found) == len(ROWS)
    return found


@pytest.fixture(scope="module")
def tab_of(live: Live, rows: list[dict[str, Any]]) -> Iterator[Any]:
    """Opens a page with these scripts, served from the origin of the service."""
    with running_chromium() as chromium:

        def tab(*scripts: str) -> Tab:
            opened = chromium.open(f"{live.url}/livez", timezone_id="UTC")
            opened.expect_errors("favicon.ico")  # the service has none
            start = f"const token = {json.dumps(live.tokens['viewer'])}; const ALL = {json.dumps(rows)};"
            parts = dict(enumerate((start, *scripts)))
            tags = "".join(f'<script src="/test/{place}.js"></script>' for place in parts)
            boxes = "".join(f'<div id="{name}" style="height: 400px"></div>' for name in ("grid", "mine"))
            html = f"<!doctype html><meta charset=utf-8>{boxes}{tags}"

            def serve(route: Any) -> None:
                name = route.request.url.rsplit("/", 1)[1]
                if name == "page":
                    route.fulfill(body=html, content_type="text/html")
                else:
                    body = parts[int(name.removesuffix(".js"))]
                    route.fulfill(body=body, content_type="text/javascript; charset=utf-8")

            opened.page.route("**/test/*", serve)
            opened.page.goto(f"{live.url}/test/page")
            return opened

        yield tab


def snippets(language: str) -> list[str]:
    """The blocks of code of the page, as they stand there."""
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs("npm", "chromium")
def test_the_infinite_row_model_of_ag_grid_finds_what_ag_grid_finds(tmp_path: Path, tab_of: Any) -> None:
    library = install(tmp_path, AG_COMMUNITY) / "ag-grid-community/dist/ag-grid-community.min.js"
    infinite, _ = snippets("js")
    # The set-up shows a few columns; here it has one more.
    infinite = infinite.replace(
        '{ field: "title",', '{ field: "sender", filter: "agTextColumnFilter" }, { field: "title",'
    )
    tab = tab_of(library.read_text(), AG_HARNESS, infinite)
    assert tab.page.evaluate("models => compare(models)", ag_models()) == []
    assert tab.faults() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs("npm", "chromium")
def test_the_server_side_row_model_of_ag_grid_finds_what_ag_grid_finds(tmp_path: Path, tab_of: Any) -> None:
    library = install(tmp_path, AG_ENTERPRISE) / "ag-grid-enterprise/dist/ag-grid-enterprise.min.js"
    _, datasource = snippets("js")
    setup = """
const grid = agGrid.createGrid(document.getElementById("grid"), {
  rowModelType: "serverSide",
  columnDefs: [
    {field: "mail_number", filter: "agTextColumnFilter"},
    {field: "title", filter: "agTextColumnFilter"},
    {field: "sender", filter: "agTextColumnFilter"},
    {field: "state", filter: "agSetColumnFilter", filterParams: {
      values: ["received", "processing", "processed", "failed"]}},
    {field: "pages", filter: "agNumberColumnFilter"},
    {field: "received_at", filter: "agDateColumnFilter"},
  ],
  serverSideDatasource,
});
"""
    harness = AG_HARNESS.replace(
        '{field: "state", filter: "agTextColumnFilter"}', '{field: "state", filter: "agSetColumnFilter"}'
    )
    tab = tab_of(library.read_text(), harness, datasource, setup)
    tab.expect_errors(r"\*")  # AG Grid's words on a missing licence
    ticked = [
        {"state": {"filterType": "set", "values": values}}
        for values in (["failed"], [], ["received", "failed"])
    ]
    assert tab.page.evaluate("models => compare(models)", [*ag_models(), *ticked]) == []
    assert tab.faults() == []


MUI = {
    "@emotion/react@11.14.0": (
        "O000MLDBDdk/EohJPFUqvnp4qnHeYkVP5B0xEG0D/L7cOKP9kefu2DXn8dj74cQfsEzUqh+sr1RzFqiL1o+PpA=="
    ),
    "@emotion/styled@11.14.1": (
        "qEEJt42DuToa3gurlH4Qqc1kVpNq8wO8cJtDzU46TjlzWjDlsVyevtYCRijVq3SrHsROS+gVQ8Fnea108GnKzw=="
    ),
    "@mui/material@9.5.0": (
        "QgqvdVjZoKxP8E8SBxYY6LrdV+kw00moXweZQWBbMMdifPKZAGfUaaXhGKIca6fjKnCL6HJIe/AWWCpqNvyHVw=="
    ),
    "@mui/x-data-grid@9.17.0": (
        "oSETp3t3tEMeuOPzQYpDMJ0/PbKPos4aK6f8ldC7ufpmMIiiZ8VUkQjWOEJ/gw6NAuMWYxDmNtj3Z+B1k3RXNQ=="
    ),
    "esbuild@0.28.2": (
        "HKVLS8dvII+xoKW9kmqxbRKrnWEXfJJr/FZhhJmiqIB0e053QNYFqOBouTMO/k5sID4MvCiUCvv8b9M4h32wIA=="
    ),
    "react@19.1.1": (
        "w8nqGImo45dmMIfljjMwOGtbmC/mk4CMYhWIicdSflH91J9TyCyczcPFXJzrZ/ZXcgGRFeP6BU0BEJTw6tZdfQ=="
    ),
    "react-dom@19.1.1": (
        "Dlq/5LAZgF0Gaz6yiqZCf6VCcZs1ghAJyrsu84Q/GT0gV+mCxbfmKNoGRKBYMJ8IEdGPqu49YWXD02GCknEDkw=="
    ),
}
MUI_IMPORTS = """
import * as React from "react";
import {createRoot} from "react-dom/client";
import {DataGrid, gridFilteredSortedRowIdsSelector, useGridApiRef} from "@mui/x-data-grid";
"""
#: One grid over the service, one with all rows; both show every column that is filtered.
MUI_HARNESS = """
columns.push({field: "sender"});
const apis = {};
let answered = 0, last = null;
const getRows = dataSource.getRows;
dataSource.getRows = async (parameters) => {
  try {
    const found = await getRows(parameters);
    last = found.rows.map((row) => row.id).sort((a, b) => a - b);
    return found;
  } catch (fault) {
    last = String(fault);
    throw fault;
  } finally {
    answered += 1;
  }
};
const pages = {initialState: {pagination: {paginationModel: {page: 0, pageSize: 100}}}};
function Both() {
  apis.service = useGridApiRef();
  apis.mine = useGridApiRef();
  return <>
    <div style={{height: 400}}><Documents apiRef={apis.service} dataSourceCache={null} {...pages} /></div>
    <div style={{height: 400}}><DataGrid apiRef={apis.mine} columns={columns} rows={ALL} {...pages} /></div>
  </>;
}
createRoot(document.getElementById("grid")).render(<Both />);
async function until(condition) {
  const end = Date.now() + 60000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("nothing was answered");
    await new Promise((go) => setTimeout(go, 5));
  }
}
window.compare = async (models) => {
  await until(() => answered > 0 && apis.mine.current);
  const wrong = [];
  for (const model of models) {
    for (const item of model.items) {
      if (item.date) item.value = new Date(item.date);
      delete item.date;
    }
    const before = answered;
    apis.service.current.setFilterModel(model);
    await until(() => answered > before);
    apis.mine.current.setFilterModel(model);
    await new Promise((go) => setTimeout(go, 0));
    const ids = [...gridFilteredSortedRowIdsSelector(apis.mine)].sort((a, b) => a - b);
    if (JSON.stringify(ids) !== JSON.stringify(last)) wrong.push({model, client: ids, service: last});
  }
  return wrong;
};
"""


def mui_models() -> list[dict[str, Any]]:
    """Every default operator of every kind of column, quick filters, and both logic operators."""
    texts = ("contains", "doesNotContain", "equals", "doesNotEqual", "startsWith", "endsWith")
    items: list[dict[str, Any]] = [
        *(
            {"field": column, "operator": op, "value": value}
            for op in texts
            for column, value in (
                ("title", "abc"),
                ("title", " ABC "),
                ("title", "%"),
                ("mail_number", "mn-2026"),
                ("sender", "y@example.org"),
            )
        ),
        {"field": "title", "operator": "isAnyOf", "value": ["abc", "OTHER ABC"]},
        *(
            {"field": "pages", "operator": op, "value": value}
            for op in ("=", "!=", ">", ">=", "<", "<=")
            for value in (0, 2, 2.5)
        ),
        {"field": "pages", "operator": "isAnyOf", "value": [1, 10]},
        *({"field": "state", "operator": op, "value": "failed"} for op in ("is", "not")),
        {"field": "state", "operator": "isAnyOf", "value": ["failed", "received"]},
        *(
            {"field": "received_at", "operator": op, "date": moment}
            for op in ("is", "not", "after", "onOrAfter", "before", "onOrBefore")
            for moment in ("2026-01-01T10:30:00Z", "2026-01-03T12:00:00Z")
        ),
        *(
            {"field": column, "operator": op}
            for column in ("title", "sender", "mail_number", "pages", "received_at")
            for op in ("isEmpty", "isNotEmpty")
        ),
    ]
    quick = (["abc"], ["ABC", "mn-2026"], ["failed"], ["kx-7"], ["nothing at all"])
    return [
        *({"items": [{"id": 1, **item}]} for item in items),
        *({"items": [], "quickFilterValues": values} for values in quick),
        {"items": [], "quickFilterValues": ["abc", "kx-7"], "quickFilterLogicOperator": "or"},
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs("npm", "chromium")
def test_the_data_grid_of_mui_finds_what_it_finds_by_itself(tmp_path: Path, tab_of: Any) -> None:
    modules = install(tmp_path, MUI)
    (tmp_path / "page.jsx").write_text(MUI_IMPORTS + snippets("jsx")[0] + MUI_HARNESS)
    command = [modules / ".bin/esbuild", "page.jsx", "--bundle", "--outfile=page.js", "--log-level=error"]
    subprocess.run(
        [*command, '--define:process.env.NODE_ENV="production"'], cwd=tmp_path, check=True, timeout=100
    )
    tab = tab_of((tmp_path / "page.js").read_text())
    assert tab.page.evaluate("models => compare(models)", mui_models()) == []
    assert tab.faults() == []
