"""The workflows and Dependabot's settings: legal, pinned, and with no more rights than they need."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy.tools import TOP, run_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GITHUB = TOP / ".github"
FILES = {path.stem: path for path in sorted((GITHUB / "workflows").glob("*.yml"))}
#: The versions that were checked against their tags.
ACTIONS = {
    "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
    "aquasecurity/trivy-action@ed142fd0673e97e23eac54620cfb913e5ce36c25 # v0.36.0",
    "astral-sh/setup-uv@fac544c07dec837d0ccb6301d7b5580bf5edae39 # v8.2.0",
    "aws-actions/amazon-ecr-login@03f1aad4c6c7ffd436567f42f9384779290529bd # v2.1.7",
    "aws-actions/configure-aws-credentials@e6de054238d6b7531b4efff3b6587d9aade6a06c # v6.2.3",
    "docker/build-push-action@53b7df96c91f9c12dcc8a07bcb9ccacbed38856a # v7.3.0",
    "docker/setup-buildx-action@bb05f3f5519dd87d3ba754cc423b652a5edd6d2c # v4.2.0",
    "docker/setup-qemu-action@c7c53464625b32c7a7e944ae62b3e17d2b600130 # v3.7.0",
    "sigstore/cosign-installer@faadad0cce49287aee09b3a48701e75088a2c6ad # v4.0.0",
}


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load(FILES[name].read_text())


def test_actionlint_finds_nothing_to_say():
    assert run_tool("actionlint", "-no-color", *FILES.values()) == (0, "")


def test_zizmor_finds_nothing_to_say():
    options = ("--offline", "--no-progress", "--color=never", "--persona=auditor", "--quiet")
    code, said = run_tool("zizmor", *options, GITHUB)
    assert (code, said) == (0, "No findings to report. Good job! (1 ignored)\n")


def test_every_workflow_fits_its_schema():
    said = run_tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *FILES.values())
    assert said == (0, "ok -- validation done\n")


def test_dependabot_fits_its_schema_and_waits_a_week():
    path = GITHUB / "dependabot.yml"
    said = run_tool("check-jsonschema", "--builtin-schema", "vendor.dependabot", path)
    assert said == (0, "ok -- validation done\n")
    updates = yaml.safe_load(path.read_text())["updates"]
    assert {item["package-ecosystem"]: item["cooldown"]["default-days"] for item in updates} == {
        "uv": 7,
        "pip": 7,
        "docker": 7,
        "docker-compose": 7,
        "github-actions": 7,
    }


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [
        ("actionlint", "runs-on: ubuntu-24.04", "runs-on: ubuntu-2404"),
        ("actionlint", "github.ref }}", "github.reff }}"),
        ("zizmor", "persist-credentials: false", "persist-credentials: true"),
        ("zizmor", "permissions: {}", "permissions: write-all"),
        ("zizmor", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7"),
    ],
)
def test_a_fault_in_a_workflow_is_found(tool: str, old: str, new: str, tmp_path: Path):
    text = FILES["pull-request"].read_text()
    assert old in text
    (tmp_path / "broken.yml").write_text(text.replace(old, new))
    options = ["--offline", "--quiet", "--persona=auditor"] if tool == "zizmor" else []
    assert run_tool(tool, *options, tmp_path / "broken.yml")[0] != 0


def test_every_action_is_pinned_to_a_commit_that_was_checked():
    used = re.findall(r"uses: (.+)", "".join(path.read_text() for path in FILES.values()))
    assert set(used) == ACTIONS | {"./.github/workflows/pull-request.yml # zizmor: ignore[self-repository]"}


@pytest.mark.parametrize("name", FILES)
def test_rights_are_given_job_by_job_and_no_more_than_are_used(name: str):
    read = workflow(name)
    assert read["permissions"] == {}
    given = {job: body["permissions"] for job, body in read["jobs"].items()}
    only = {"contents": "read"}
    more = {("qa", "push"): {"id-token": "write"}, ("release", "release"): {"contents": "write"}}
    assert given == {job: only | more.get((name, job), {}) for job in given}


@pytest.mark.parametrize("name", FILES)
def test_every_workflow_bounds_its_time_and_its_runs(name: str):
    read = workflow(name)
    assert read["concurrency"]["cancel-in-progress"] is (name == "pull-request")
    assert [job for job, body in read["jobs"].items() if not {"timeout-minutes", "uses"} & set(body)] == []


def test_pull_requests_are_tested_on_every_python_that_the_project_names():
    classifiers = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["classifiers"]
    named = re.findall(r"Python :: (3\.[0-9]+)", "\n".join(classifiers))
    tested = workflow("pull-request")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tested == named == ["3.11", "3.12", "3.13", "3.14"]


def test_no_test_of_a_pull_request_is_skipped_but_those_that_a_runner_cannot_run():
    steps = [step for job in workflow("pull-request")["jobs"].values() for step in job["steps"]]
    runs = [shlex.split(step["run"]) for step in steps if " pytest " in step.get("run", "")]
    common = ["uv", "run", "pytest", "--no-skips"]
    leave_out = ["-m", "not host"]
    assert runs == [
        [*common, "--ignore", "tests/deploy", *leave_out],
        [*common, "tests/deploy", *leave_out],
    ]
    unmarked = [
        f"{path.relative_to(TOP)}::{name}"
        for path in sorted((TOP / "tests").rglob("test_*.py"))
        for name, marks in marked(ast.parse(path.read_text()))
        if re.search("needs_v1|needs_root|needs root|geteuid|can_be_made", marks) and "mark.host" not in marks
    ]
    assert unmarked == []


def marked(module: ast.Module) -> Iterator[tuple[str, str]]:
    """What is marked in a module, a test or all of them (``pytestmark``), and its marks as text."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, " ".join(map(ast.unparse, node.decorator_list))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            yield "pytestmark", ast.unparse(node.value)


def test_only_the_push_to_qa_leaves_the_runner_and_only_after_the_scan():
    pushes = {
        (name, job): [step.get("with", {}).get("push") for step in body["steps"] if "with" in step]
        for name in FILES
        for job, body in workflow(name)["jobs"].items()
        if "steps" in body
    }
    assert [place for place, values in pushes.items() if True in values] == [("qa", "push")]
    push = workflow("qa")["jobs"]["push"]
    assert push["environment"] == "qa"
    words = [step.get("uses", step.get("run", "")).partition("@")[0] for step in push["steps"]]
    assert words.index("aquasecurity/trivy-action") < words.index("aws-actions/configure-aws-credentials")
    assert (push["needs"], workflow("qa")["jobs"]["tests"]["uses"]) == (
        "tests",
        "./.github/workflows/pull-request.yml",
    )
    last = [step for step in push["steps"] if step.get("with", {}).get("push") is True]
    assert [
        (step["with"]["sbom"], step["with"]["provenance"], step["with"]["platforms"]) for step in last
    ] == [(True, "mode=max", "linux/amd64,linux/arm64")]
    signed = [number for number, step in enumerate(push["steps"]) if "cosign sign" in step.get("run", "")]
    assert signed == [push["steps"].index(last[0]) + 1]
    scan = next(step for step in push["steps"] if "trivy" in step.get("uses", ""))
    assert (scan["with"]["exit-code"], scan["with"]["severity"]) == ("1", "HIGH,CRITICAL")
    # The action drops the severity for a report in SARIF, unless it is configured not to.
    assert (scan["with"]["format"], scan["with"]["limit-severities-for-sarif"]) == ("sarif", True)
