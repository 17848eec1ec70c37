"""What the README says is what there is. What holds for every document is in tests/docs/test_pages.py."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from autoscaler.demo.play import DAEMON_FLAGS
from autoscaler.settings import table as settings

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
MAX_LINES = 200


def default_of(flag: str) -> str:
    (found,) = [one.default for one in settings.ALL if one.flag == flag]
    return found


def test_it_is_short():
    assert len(README.splitlines()) <= MAX_LINES


def test_it_begins_with_three_sentences_the_picture_and_the_two_commands():
    title, about, picture, commands = README.split("\n\n")[:4]
    assert title == f"# {PROJECT['project']['name']}"
    assert len(re.findall(r"[.](?:\s|$)", about)) == 3
    assert re.fullmatch(r"!\[.+\]\(docs/demo\.svg\)", picture)
    run = re.findall(r"(?m)^(.+?)\s+#", commands)
    assert run == ["pip install uv && uv run autoscaler demo", "pip install uv && uv run pytest"]


def test_it_says_by_which_policy_the_demo_decides():
    about = README.partition("```\n\n")[2].partition("\n\n")[0]
    by_thresholds = {"--scale-up-cooldown", "--scale-down-delay", "--max-step-up"} & DAEMON_FLAGS.keys()
    assert ("thresholds" in about) == bool(by_thresholds)


def test_it_takes_five_steps():
    steps = README.partition("## Use it with your own worker")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^(\d)\. ", steps) == ["1", "2", "3", "4", "5"]


def test_its_defaults_are_those_of_the_code():
    assert f"`--target-wait {default_of('--target-wait')}` is the default" in README
    assert f"`/status` on port {default_of('--listen').rpartition(':')[2]}" in README
    assert f"Python {PROJECT['project']['requires-python'].removeprefix('>=')} or newer" in README
    celery = next(one for one in PROJECT["project"]["dependencies"] if one.startswith("celery"))
    assert f"Celery {celery.partition('>=')[2]} or newer" in README


def test_the_security_page_names_the_default_address():
    assert f"default address is\n`{default_of('--listen')}`" in (TOP / "docs/security.md").read_text()


def test_its_figures_are_those_of_the_benchmarks_page():
    page = (TOP / "docs/benchmarks.md").read_text()
    rows = README.partition("## Measured")[2].partition("\n## ")[0]
    results = [row.split(" | ") for row in rows.splitlines() if row.startswith("| ")][1:]
    figures = {
        number
        for what, result, _ in results
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?", f"{what} {result}")
    }
    assert {number for number in figures if number not in page} == set()


def test_its_extras_and_groups_are_those_of_the_project():
    documents = "".join(path.read_text() for path in (TOP / "docs").glob("*.md")) + README
    extras = {
        name
        for names in re.findall(r"celery-pool-autoscaler\[([a-z,]+)\]", documents)
        for name in names.split(",")
    }
    assert extras == set(PROJECT["project"]["optional-dependencies"])
    assert set(re.findall(r"--group (\w+)", documents)) <= set(PROJECT["dependency-groups"])
    assert set(re.findall(r"--extra (\w+)", documents)) <= extras
