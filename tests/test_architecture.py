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
    *("itertools", "json", "math", "re", "typing"),
}
ALLOWED = {
    "autoscaler/core": _VALUES,
    "docservice/domain": _VALUES
    | frozenset(["base64", "binascii", "datetime", "decimal", "re2", "secrets", "unicodedata", "urllib"]),
}
#: A worker loads these beside Celery: no dependency of the daemon may slip in.
WORKER_PACKAGES = {"autoscaler", "billiard", "celery", "eventlet", "gevent", "greenlet", "kombu", "vine"}


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


@pytest.mark.parametrize("package", PACKAGES)
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
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(package)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_test_module_stands_where_its_module_stands(package: str) -> None:
    """``tests/autoscaler/core/test_policy.py`` tests ``autoscaler/core``: the folders are the same."""
    folders = {path.parent.relative_to(ROOT) for path in modules(package)}
    astray = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / package).rglob("test_*.py")
        if path.parent.relative_to(ROOT / "tests") not in folders
    ]
    assert astray == []
