"""The worker's folder on Python 3.9, as a part of the package and copied into a project by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import autoscaler.worker
from tests.support.worker_bench import await_insides, await_true, resize

if TYPE_CHECKING:
    from tests.support.worker_bench import MakeBench

WORKER = Path(autoscaler.worker.__file__).parent
MODULES = sorted((*WORKER.glob("*.py"), WORKER.parent / "companion.py", WORKER.parent / "__init__.py"))
#: What came after 3.9 and is easily taken for older.
TOO_NEW = re.compile(r"\b(slots|kw_only|strict)=|\b(StrEnum|pairwise|Self|UTC)\b")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.parent.name}-{module.stem}")
def test_a_module_of_the_worker_is_python_39(module: Path) -> None:
    text = module.read_text()
    tree = ast.parse(text, feature_version=(3, 9))
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())
    assert TOO_NEW.findall(code) == []
    unions = [
        ast.unparse(call)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "isinstance"
        if any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr) for part in ast.walk(call))
    ]
    assert unions == []
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))


def test_no_module_of_the_worker_imports_another_part_of_the_package() -> None:
    names = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for module in WORKER.glob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0)
        for name in node.names
    }
    assert {name.partition(".")[0] for name in names} & {
        "autoscaler",
        "docservice",
        "psutil",
        "redis",
    } == set()


def python39() -> Path | None:
    """A Python 3.9 of this machine."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(homes.glob("3.9.*/bin/python3.9")), shutil.which("python3.9"), _by_uv()]
    return next((Path(one) for one in found if one and _is_python39(Path(one))), None)


def _by_uv() -> str | None:
    uv = shutil.which("uv")
    find = (uv, "python", "find", "--managed-python", "3.9")
    return subprocess.run(find, capture_output=True, text=True, check=False).stdout.strip() if uv else None


def _is_python39(python: Path) -> bool:
    done = subprocess.run((python, "--version"), capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.startswith("Python 3.9.")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the newest Celery that 3.9 can have."""
    uv, python = shutil.which("uv"), python39()
    if uv is None or python is None:
        pytest.skip("no Python 3.9 is installed: uv python install 3.9")
    folder = tmp_path_factory.mktemp("python39") / "venv"
    subprocess.run((uv, "venv", "-q", "--python", python, folder), check=True)
    install = (uv, "pip", "install", "-q", "--python", folder / "bin/python", "celery[redis]")
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode and re.search(r"fetch|connect|dns|network|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package registry cannot be reached for a Celery of Python 3.9")
    assert done.returncode == 0, done.stderr
    return folder / "bin/python"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["autoscaler.companion", "copied.commands"])
def test_a_real_worker_on_python_39_is_resized(
    make_bench: MakeBench, environment: Path, tmp_path: Path, path: str
) -> None:
    project = tmp_path / "project"
    shutil.copytree(WORKER, project / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    root = Path(autoscaler.worker.__file__).parents[2]
    variables = {"PYTHONPATH": os.pathsep.join(map(os.fspath, (project, root)))}
    bench = make_bench(options=("-I", path), python=os.fspath(environment), environment=variables)
    for number in range(30):
        bench.app.send_task("churn.work", (number, 0.05))
    for size in (1, 4, 2):
        resize(bench, size)
    await_true(lambda: bench.ledger.hlen("ends") == 30, "the end of all tasks")
    assert set(bench.ledger.hvals("starts")) == {"1"}
    await_insides(bench, 2)
    report = bench.report()
    kept = ("companion", "pool", "refusal", "size", "completed", "discarded", "consuming")
    assert {name: report[name] for name in kept} == {
        "companion": 1,
        "pool": "prefork",
        "refusal": None,
        "size": 2,
        "completed": 30,
        "discarded": 0,
        "consuming": True,
    }
    assert report["child_peak_bytes"]["max"] > 1_000_000
