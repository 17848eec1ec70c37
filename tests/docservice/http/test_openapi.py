"""Drawn requests find nothing that the OpenAPI document does not say, and generated clients have types."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from docservice.domain.grid.columns import COLUMNS
from docservice.http.app import create_app, openapi_document
from tests.support.npm import install
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path

    from docservice.config import Settings

Live = Any  # of conftest

#: Every check of schemathesis runs but these two.
EXCLUDED = [
    # A documented 503 or 504 is right where no worker answers and none is there; 500 is looked for below.
    not_a_server_error,
    # What JSON Schema cannot say is refused: a cursor of another sort, more than 500 rows in all.
    positive_data_acceptance,
]
# What waits for workers that are not there takes its time; it has tests of its own.
DRAWN = hypothesis_settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_every_answer_is_documented(live: Live) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    headers = {"Authorization": f"Bearer {live.tokens['system_admin']}"}
    operations = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        operations += 1

        @DRAWN
        @given(case=operation.as_strategy())
        def answers_as_documented(case: Any) -> None:
            answer = case.call(headers=headers, timeout=30)
            assert answer.status_code != 500, live.process.log()[-5000:]
            case.validate_response(answer, excluded_checks=EXCLUDED, headers=headers)

        answers_as_documented()
    assert operations == 33


#: Packages of npm, each with the SHA-512 of its archive.
NPM = {
    "openapi-typescript@7.13.0": (
        "EFP392gcqXS7ntPvbhBzbF8TyBA+baIYEm791Hy5YkjDYKTnk/Tn5OQeKm5BIZvJihpp8Zzr4hzx0Irde1LNGQ=="
    ),
    "typescript@5.9.3": (
        "jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw=="
    ),
}
USE_TS = """
import type { components, operations } from "./client";
type Schemas = components["schemas"];
export function line(row: Schemas["GridRow"]): string {
  const number: string | null = row.mail_number;
  const pages: number | null = row.pages;
  const state: "received" | "processing" | "processed" | "failed" = row.state;
  // @ts-expect-error there is no such column
  row.nothing;
  return `${row.id} ${number ?? ""} ${pages ?? 0} ${state}`;
}
type Page = operations["get_grid"]["responses"][200]["content"]["application/json"];
export const rows = (page: Page): Schemas["GridRow"][] => page.data.rows;
export const body: Schemas["GridRequest"] = {
  startRow: 0,
  endRow: 50,
  total: "exact",
  sortModel: [{ colId: "title", sort: "asc" }],
  filterModel: { title: { type: "contains", filter: "a" } },
};
// @ts-expect-error there is no such column to sort by
export const sort: Schemas["GridSort"] = { colId: "nothing", sort: "asc" };
"""
USE_PY = """
import datetime
from client.api.grids import get_grid, post_grid
from client.models import GridAnswer, GridRequest, GridRow

def line(row: GridRow) -> str:
    number: str | None = row.mail_number
    received_at: datetime.datetime = row.received_at
    return f"{row.id} {number} {received_at} {row.state.value}"

def rows(answer: GridAnswer) -> list[GridRow]:
    return answer.data.rows
"""


@pytest.fixture
def described(settings: Settings, tmp_path: Path) -> Path:
    """The OpenAPI document in a file."""
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(openapi_document(create_app(settings).framework)))
    return path


def test_operations_have_stable_names_and_rows_the_columns_of_the_grid(described: Path) -> None:
    document = json.loads(described.read_text())
    operations = {
        operation["operationId"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    }
    assert operations == {
        *("add_document_type_column", "delete_document", "delete_documents", "download_document"),
        *("drain_workers", "export_grid", "export_grid_by_request", "get_autoscale", "get_bulk_job"),
        "get_document",
        *("get_document_text", "get_drain", "get_grid", "grow_workers", "inspect_workers", "list_audit"),
        *("list_bulk_jobs", "list_document_states", "list_document_type_columns", "list_grid_columns"),
        *("list_modules", "list_types_of_column", "livez", "metrics", "post_grid", "readyz"),
        *("remove_document_type_column", "retry_document", "retry_documents", "set_autoscale"),
        *("shrink_workers", "upload_documents", "whoami"),
    }
    row = document["components"]["schemas"]["GridRow"]
    assert (list(row["properties"]), row["required"]) == (list(COLUMNS), list(COLUMNS))
    assert list(row["examples"][0]) == list(COLUMNS)


@pytest.mark.slow
@needs("npm")
def test_openapi_typescript_gives_a_type_for_rows_that_compiles(described: Path) -> None:
    folder = described.parent
    programs = install(folder, NPM) / ".bin"
    (folder / "use.ts").write_text(USE_TS)
    for words in (
        ("openapi-typescript", "openapi.json", "-o", "client.ts"),
        ("tsc", "--noEmit", "--strict", "use.ts"),
    ):
        done = subprocess.run(
            [programs / words[0], *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_openapi_python_client_gives_a_class_for_rows_that_is_type_checked(described: Path) -> None:
    folder = described.parent
    generator = shutil.which("openapi-python-client", path=f"{sys.exec_prefix}/bin")
    assert generator is not None
    done = subprocess.run(
        [generator, "generate", "--path", described, "--output-path", folder / "client", "--meta", "none"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, "WARNING" in done.stdout) == (0, False), done.stdout + done.stderr
    (folder / "use.py").write_text(USE_PY)
    for words in (
        ["-c", "import use"],
        ["-m", "mypy", "--no-incremental", "--follow-imports=silent", "use.py"],
    ):
        checked = subprocess.run(
            [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=100
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
