"""What import contracts cannot say: which outside modules the pure parts may use, and bounds on size."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("autoscaler", "docservice")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 45

#: What a module of the standard library or another package may be in each pure part. A new import fails here
#: until somebody has decided that it is pure.
_VALUES = {
    *("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq"),
    *("itertools", "json", "math", "re", "types", "typing"),
}
ALLOWED = {
    "autoscaler/core": _VALUES,
    "docservice/domain": _VALUES
    | frozenset(["base64", "binascii", "datetime", "decimal", "re2", "secrets", "unicodedata", "urllib"]),
}
#: A worker loads these beside Celery: no dependency of the daemon may slip in.
WORKER_PACKAGES = {"autoscaler", "billiard", "celery", "eventlet", "gevent", "greenlet", "kombu", "vine"}

#: Modules without a test file of their name, and the file that tests them: values and words that only mean
#: something in use, parts of a private interface, and thin layers over a server that are tested through it.
TESTED_BY = {
    "autoscaler/__main__": "autoscaler/cli/test_main",
    "autoscaler/api": "docservice/http/routes/test_admin",
    "autoscaler/broker/history_store": "autoscaler/daemon/test_recorder",
    "autoscaler/broker/override_changes": "autoscaler/cli/test_override",
    "autoscaler/cli/compose": "autoscaler/daemon/test_daemon",
    "autoscaler/cli/compose_keda": "autoscaler/keda/test_server",
    "autoscaler/cli/drain": "autoscaler/control/test_drain",
    "autoscaler/cli/healthcheck": "autoscaler/report/test_health",
    "autoscaler/cli/keda": "autoscaler/keda/test_server",
    "autoscaler/cli/options": "autoscaler/cli/test_main",
    "autoscaler/cli/running": "autoscaler/daemon/test_daemon",
    "autoscaler/companion": "autoscaler/worker/test_commands",
    "autoscaler/core/demand/work": "autoscaler/core/test_measure",
    "autoscaler/core/model": "autoscaler/core/test_decider",
    "autoscaler/core/plan": "autoscaler/core/test_decider",
    "autoscaler/core/reasons": "autoscaler/core/test_decider",
    "autoscaler/daemon/faults": "autoscaler/daemon/test_observe",
    "autoscaler/demo/documents": "autoscaler/demo/test_play",
    "autoscaler/demo/services": "autoscaler/demo/test_play",
    "autoscaler/keda/observed": "autoscaler/keda/test_scaler",
    "autoscaler/keda/unacked": "autoscaler/keda/test_scaler",
    "autoscaler/report/container": "autoscaler/report/test_status",
    "autoscaler/report/group_series": "autoscaler/report/test_metrics",
    "autoscaler/report/in_force": "autoscaler/report/test_status",
    "autoscaler/report/otel": "autoscaler/report/test_traces",
    "autoscaler/report/sentence": "autoscaler/report/test_live",
    "autoscaler/report/spans": "autoscaler/report/test_traces",
    "autoscaler/report/streams": "autoscaler/report/test_page",
    "autoscaler/report/waits": "autoscaler/daemon/test_waits",
    "autoscaler/sensors/round": "autoscaler/sensors/test_workers",
    "autoscaler/worker/feeding": "autoscaler/worker/test_prefork",
    "autoscaler/worker/resizers": "autoscaler/worker/test_commands",
    "autoscaler/worker/slots": "autoscaler/worker/test_prefork",
    "autoscaler/worker/step": "autoscaler/worker/test_mailbox",
    "docservice/__main__": "docservice/cli/test_main",
    "docservice/backup/copying": "docservice/backup/test_take",
    "docservice/backup/store": "docservice/backup/test_take",
    "docservice/cli/backups": "docservice/backup/test_restore",
    "docservice/cli/running": "docservice/cli/test_main",
    "docservice/cli/tokens": "docservice/cli/test_main",
    "docservice/dev/samples": "docservice/ingest/extract/test_process",
    "docservice/domain/documents": "docservice/ingest/extract/test_process",
    "docservice/domain/extraction": "docservice/ingest/extract/test_process",
    "docservice/domain/grid/ag_grid": "docservice/http/test_grid_clients",
    "docservice/domain/grid/columns": "docservice/domain/grid/test_http_get",
    "docservice/domain/grid/conditions": "docservice/domain/grid/test_query",
    "docservice/domain/grid/json_values": "docservice/domain/grid/test_component_body",
    "docservice/domain/grid/mui": "docservice/http/test_grid_clients",
    "docservice/domain/identity": "docservice/http/test_deps",
    "docservice/http/app": "docservice/http/test_docs",
    "docservice/http/audit": "docservice/http/routes/test_admin",
    "docservice/http/compression": "docservice/http/test_methods",
    "docservice/http/context": "docservice/http/test_asgi",
    "docservice/http/downloads": "docservice/http/routes/test_modules",
    "docservice/http/envelope": "docservice/http/test_errors",
    "docservice/http/idempotency": "docservice/http/routes/test_admin",
    "docservice/http/routes/grids_openapi": "docservice/http/test_openapi",
    "docservice/http/routes/grids_schemas": "docservice/http/test_openapi",
    "docservice/http/services": "docservice/http/routes/test_health",
    "docservice/http/store_watch": "docservice/http/routes/test_health",
    "docservice/ingest/blob_errors": "docservice/ingest/test_blobs",
    "docservice/ingest/blob_writer": "docservice/ingest/test_blobs",
    "docservice/ingest/extract/limits": "docservice/ingest/extract/test_process",
    "docservice/ingest/extract/pdf_pypdf": "docservice/ingest/extract/test_pdf",
    "docservice/ingest/sent_spans": "docservice/http/test_traces",
    "docservice/log": "docservice/http/test_access_log",
    "docservice/metrics": "docservice/http/test_access_log",
    "docservice/postgres/administration": "docservice/http/routes/test_admin",
    "docservice/postgres/backups": "docservice/backup/test_take",
    "docservice/postgres/document_type_columns": "docservice/http/routes/test_document_type_columns",
    "docservice/postgres/file_store": "docservice/ingest/test_store_identity",
    "docservice/postgres/grid_sql": "docservice/http/routes/test_grids",
    "docservice/postgres/grid_where": "docservice/http/routes/test_grids",
    "docservice/postgres/grids": "docservice/http/routes/test_grids",
    "docservice/postgres/tokens": "docservice/http/test_auth",
}
#: Test files that are about several modules at once, and what they are about.
SCENARIOS = {
    "autoscaler/cli/test_broker_faults": "each command where Redis does not answer or refuses",
    "autoscaler/cli/test_foreign_companion": "reports of companions that are older, newer or somebody else's",
    "autoscaler/control/test_walks": "daemons and drains that are killed, held up and refused",
    "autoscaler/core/test_decider_properties": "what holds for every decision, whatever is drawn",
    "autoscaler/daemon/test_daemon": "a daemon as a process, beside real workers",
    "autoscaler/daemon/test_deployment_daemon": "mistakes of a deployment, as a daemon reports them",
    "autoscaler/daemon/test_faults_redis": "a daemon whose Redis fails",
    "autoscaler/daemon/test_faults_worker": "a daemon whose workers fail",
    "autoscaler/daemon/test_foreign_companion": "a daemon whose workers have a foreign companion",
    "autoscaler/daemon/test_hidden_work": "work that no queue shows",
    "autoscaler/daemon/test_learnt": "what a daemon has learnt of workers that come and go",
    "autoscaler/daemon/test_memory": "a daemon in a container whose memory is short",
    "autoscaler/daemon/test_not_consuming": "workers that answer and take nothing",
    "autoscaler/daemon/test_pod_names": "pods that come and go under new names",
    "autoscaler/daemon/test_previous_release": "a daemon and a companion of two releases",
    "autoscaler/daemon/test_rolling_restart": "a worker that takes the place of one of its name",
    "autoscaler/daemon/test_target_wait_daemon": "a daemon with a target wait",
    "autoscaler/daemon/test_two_daemons": "two daemons on one fleet",
    "autoscaler/report/test_alert_faults": "alerts, by real faults",
    "autoscaler/report/test_alert_faults_of_containers": "alerts, by real faults",
    "autoscaler/report/test_monitoring": "Prometheus, its rules and the dashboard",
    "autoscaler/report/test_page_in_chromium": "the page as a person sees it",
    "autoscaler/sensors/test_deployments": "workers as they are deployed, for all sensors",
    "autoscaler/simulation/test_grid": "the target wait over a grid of cases",
    "autoscaler/worker/test_cgroup_real": "real control groups of this machine",
    "autoscaler/worker/test_python39": "the worker's room on Python 3.9",
    "docservice/http/routes/test_text_search": "searches in the texts of documents, as part of a grid",
    "docservice/http/test_alert_faults": "alerts of the API, by real faults",
    "docservice/http/test_api": "grids over HTTP: parameters, bodies, cursors, exports",
    "docservice/http/test_browser_grids": "AG Grid and MUI X in Chromium",
    "docservice/http/test_grid_clients": "what AG Grid and MUI send, as recorded",
    "docservice/http/test_openapi": "drawn requests over the OpenAPI document",
    "docservice/http/test_oracle": "drawn questions against plain Python",
    "docservice/http/test_previous_release": "API, worker and schema of two releases",
    "docservice/http/test_rights": "the rights in Redis that we ship",
    "docservice/ingest/extract/test_cases": "mails and PDFs that were read wrong once",
    "docservice/postgres/test_migrations": "the migrations, which are a folder",
    "docservice/postgres/test_pgbouncer": "everything behind PgBouncer",
    "docservice/test_faults": "an API process whose Postgres restarts",
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports anywhere in it, those for the type checker left out."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # The worker's room imports its own modules relatively, so that the folder works alone as well.
            found.add("autoscaler" if node.level else (node.module or "").partition(".")[0])
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_a_pure_part_imports_only_what_is_known_to_be_pure(part: str) -> None:
    own = {part.partition("/")[0]}
    strange = {
        str(path.relative_to(ROOT)): sorted(names)
        for path in modules(part)
        if (names := imported(path) - ALLOWED[part] - own)
    }
    assert strange == {}


def test_only_the_workers_room_which_works_alone_imports_relatively() -> None:
    relative = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert relative <= {"autoscaler/worker"}


def test_what_a_worker_loads_needs_celery_and_the_standard_library_alone() -> None:
    strange = {
        str(path.relative_to(ROOT)): sorted(names)
        for path in [*modules("autoscaler/worker"), ROOT / "autoscaler" / "companion.py"]
        if (names := imported(path) - WORKER_PACKAGES - sys.stdlib_module_names)
    }
    assert strange == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_too_long_to_read(package: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules(package)}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_no_function_is_too_long_to_read(package: str) -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_says_what_it_is_for(package: str) -> None:
    without = [
        str(path.relative_to(ROOT))
        for path in modules(package)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert without == []


def plain(path: Path) -> str:
    """A module by its path below the package's parent, without its ending."""
    return path.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_has_a_test_file_of_its_name_or_is_named_with_the_file_that_tests_it(
    package: str,
) -> None:
    """``tests/autoscaler/core/test_policy.py`` tests ``autoscaler/core/policy.py``: found from each other."""
    own = {
        plain(path): f"tests/{plain(path.parent)}/test_{path.stem}.py"
        for path in modules(package)
        if path.name != "__init__.py"
    }
    without = sorted(module for module, test in own.items() if not (ROOT / test).exists())
    assert without == [module for module in TESTED_BY if module.startswith(f"{package}/")]
    assert [test for test in TESTED_BY.values() if not (ROOT / f"tests/{test}.py").exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_test_file_is_named_after_its_module_or_is_named_with_what_it_is_about(package: str) -> None:
    tests = sorted((ROOT / "tests" / package).rglob("test_*.py"))
    names = {
        test.relative_to(ROOT / "tests").with_suffix("").as_posix(): ROOT
        / test.parent.relative_to(ROOT / "tests")
        / f"{test.stem.removeprefix('test_')}.py"
        for test in tests
    }
    others = [name for name, module in names.items() if not module.exists()]
    assert others == [name for name in SCENARIOS if name.startswith(f"{package}/")]
