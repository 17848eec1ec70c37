"""The worker's folder on Python 3.9, as a distribution of its own and copied into a project by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import autoscaler.worker
from autoscaler.demo.embedded import Process, RedisServer
from tests.docs.markdown import TOP, blocks
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


def make_environment(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with these packages."""
    uv, python = shutil.which("uv"), python39()
    if uv is None or python is None:
        pytest.skip("no Python 3.9 is installed: uv python install 3.9")
    subprocess.run((uv, "venv", "-q", "--python", python, folder), check=True)
    install = (uv, "pip", "install", "-q", "--python", folder / "bin/python", *packages)
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode and re.search(r"fetch|connect|dns|network|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package registry cannot be reached for a Celery of Python 3.9")
    assert done.returncode == 0, done.stderr
    return folder / "bin/python"


def lines_of_the_page() -> list[str]:
    """The commands of docs/companion.md that build and install the companion alone."""
    (block,) = (one for one in blocks((TOP / "docs/companion.md").read_text()) if "uv build" in one)
    return block.splitlines()


@pytest.mark.slow
def test_the_companion_alone_is_installed_by_the_lines_of_its_page_and_resizes_a_worker(
    tmp_path: Path,
) -> None:
    python = make_environment(tmp_path / "venv", "celery[redis]==5.3.*", "packaging")
    build, install = (line.replace("dist", f"{tmp_path}/dist") for line in lines_of_the_page())
    install = install.replace("pip install", f"uv pip install -q --python {python}")
    for line in (build, install):
        done = subprocess.run(("sh", "-c", line), cwd=TOP, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shutil.copy(TOP / "docs/examples/two_queues.py", tmp_path)
    with RedisServer(tmp_path / "redis") as server:
        words = (python, *f"-m celery -b {server.url} -A two_queues worker -n w@h -c 1".split())
        worker = Process(
            tuple(map(os.fspath, words)),
            log_path=tmp_path / "worker.log",
            environment={"PATH": os.environ["PATH"]},
            working_folder=tmp_path,
        )
        app = Celery("asking", broker=server.url, set_as_current=False)

        def ask(command: str, **arguments: int) -> dict[str, Any]:
            replies = app.control.broadcast(
                command, arguments=arguments, destination=["w@h"], reply=True, timeout=5, limit=1
            )
            found: dict[str, Any] = replies[0]["w@h"] if replies else {}
            return found

        with worker:
            await_true(lambda: ask("pool_report").get("size") == 1, "the first report")
            assert "ok" in ask("pool_resize", size=3)
            await_true(lambda: ask("pool_report")["ready"] == 3, "three processes")
            report = ask("pool_report")
        app.close()
    assert {name: report[name] for name in ("companion", "pool", "refusal")} == {
        "companion": 1,
        "pool": "prefork",
        "refusal": None,
    }


@pytest.mark.slow
def test_the_folder_copied_into_a_project_resizes_a_worker(make_bench: MakeBench, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "venv", "celery[redis]")
    project = tmp_path / "project"
    shutil.copytree(WORKER, project / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    root = Path(autoscaler.worker.__file__).parents[2]
    variables = {"PYTHONPATH": os.pathsep.join(map(os.fspath, (project, root)))}
    bench = make_bench(
        options=("-I", "copied.commands"), python=os.fspath(environment), environment=variables
    )
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
