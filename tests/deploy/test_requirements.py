"""The images' requirement files: pinned, hashed, free of addresses, and what pyproject.toml asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autoscaler.demo.embedded import RedisServer, wait_until
from tests.deploy.tools import TOP
from tests.support.cluster import Cluster
from tests.support.other_celery import python_with

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = TOP / "deploy/requirements"
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
ASKED = {
    "autoscaler.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["keda"],
    "api.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["api"],
    "build.txt": (FOLDER / "build.in").read_text().splitlines()[1:],
}


def pins(name: str) -> dict[str, str]:
    text = (FOLDER / name).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) \\$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ASKED)
def test_every_requirement_is_pinned_to_a_version_that_the_project_allows(name: str):
    wanted = [Requirement(line) for line in ASKED[name]]
    found = pins(name)
    assert [one.name for one in wanted if found.get(canonicalize_name(one.name)) is None] == []
    assert [str(one) for one in wanted if found[canonicalize_name(one.name)] not in one.specifier] == []


@pytest.mark.parametrize("name", ASKED)
def test_every_line_is_a_pin_a_hash_or_a_comment_on_what_needs_it(name: str):
    legal = r"#.*|    # .*|[a-z0-9-]+==[^ ;]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    lines = (FOLDER / name).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(legal, line)] == []
    assert "://" not in (FOLDER / name).read_text()


def test_what_both_images_run_is_of_the_same_version():
    api, own = pins("api.txt"), pins("autoscaler.txt")
    both = api.keys() & own.keys()
    assert "celery" in both
    assert {name: (api[name], own[name]) for name in both if api[name] != own[name]} == {}


def test_the_autoscaler_needs_no_web_framework_and_no_driver_of_postgres():
    service_alone = {
        "asyncpg",
        "fastapi",
        "httptools",
        "pydantic",
        "pypdf",
        "python-multipart",
        "starlette",
        "uvicorn",
        "uvloop",
    }
    assert service_alone <= set(pins("api.txt"))
    assert service_alone & set(pins("autoscaler.txt")) == set()


def test_every_pin_lies_within_the_constraints_of_the_images():
    lines = (FOLDER / "constraints.in").read_text().splitlines()
    constraints = [Requirement(line) for line in lines if not line.startswith("#")]
    assert [one.name for one in constraints] == ["redis"]
    for name in ("autoscaler.txt", "api.txt"):
        found = pins(name)
        assert [str(one) for one in constraints if found[one.name] not in one.specifier] == []


@pytest.mark.slow
def test_a_daemon_on_the_packages_of_its_image_resizes_a_worker_and_stays_small(tmp_path: Path):
    python = python_with(tmp_path, "--require-hashes", "-r", str(FOLDER / "autoscaler.txt"))
    # As in the image, bytecode lies beside the sources: what a process compiles stays in its memory.
    beside = {"PYTHONPYCACHEPREFIX": ""}
    words = (python, "-m", "compileall", "-q", str(tmp_path / "venv/lib"), str(TOP / "autoscaler"))
    subprocess.run(words, env={**os.environ, **beside}, check=True)
    with RedisServer(tmp_path / "redis") as server, ExitStack() as stack:
        cluster = Cluster(tmp_path, stack, server)
        worker = psutil.Process(cluster.worker("w1@h").pid)
        cluster.hold(2)
        # A target that a process which starts slowly can keep: else the size would be held for an hour.
        daemon = cluster.daemon("--target-wait", "10s", python=str(python), environment=beside, max="3")
        wait_until(lambda: len(worker.children()) >= 2, within_seconds=60, what="growth")
        cluster.release()
        wait_until(lambda: len(cluster.ended()) == 2, within_seconds=60, what="the end of both tasks")
        wait_until(lambda: len(worker.children()) == 1, within_seconds=60, what="the shrink")
        assert daemon.get("/metrics")[0] == 200
        held = psutil.Process(daemon.process.pid).memory_info().rss
    # Another Python than the images' own holds another amount.
    assert sys.version_info[:2] != (3, 11) or held <= 48 * 2**20
