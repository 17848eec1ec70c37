"""The images' requirement files: pinned, hashed, free of addresses, and what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.tools import TOP

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
