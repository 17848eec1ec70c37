"""What the README says is what there is. What holds for every document is in tests/docs/test_pages.py.

``CHECKED`` names, for each of its statements that a command can check, the test that does; ``UNCHECKED`` has
the rest, and why no test checks it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from autoscaler.demo import services as demo
from autoscaler.demo.play import DAEMON_FLAGS
from autoscaler.settings import table as settings

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
MAX_LINES = 200

FIRST_HOUR = "tests/first_hour/test_first_hour.py"
PLAY = "tests/autoscaler/demo/test_play.py"
CURLS = "tests/docs/test_curls.py"
STEPS = f"{FIRST_HOUR}::test_the_steps_of_the_readme_lead_from_a_check_to_a_worker_that_grows"
DEMO = f"{PLAY}::test_it_shows_growth_and_shrink_with_nothing_lost_and_leaves_nothing"
HERE = "tests/test_readme.py"
CORE = "tests/autoscaler/core"
#: A statement by words of it, and the test that checks it.
CHECKED = {
    "A resize through its companion module loses no task": (
        "tests/churn/test_churn.py::test_churn_loses_and_repeats_nothing"
    ),
    "Each decision carries a reason": "tests/autoscaler/daemon/test_daemon.py",
    "docs/demo.svg": (
        "tests/docs/test_picture.py::test_the_picture_that_is_kept_shows_a_resize_and_loads_nothing"
    ),
    "The demo starts an embedded Valkey and Postgres": DEMO,
    "It uploads 350 files at once, PDFs of 4 pages": (
        f"{HERE}::test_its_figures_of_the_demo_are_those_of_the_code"
    ),
    "stops what it started when you press\nCtrl-C": (
        f"{PLAY}::test_on_a_terminal_it_stays_up_to_be_explored_until_ctrl_c"
    ),
    "Its daemon decides as yours will": f"{HERE}::test_it_says_by_which_policy_the_demo_decides",
    "It needs Python 3.11 or newer": f"{HERE}::test_its_defaults_are_those_of_the_code",
    "74 of 7,480 tasks lost": f"{HERE}::test_its_figures_are_those_of_the_benchmarks_page",
    "needs one module loaded in the worker to shrink it while it is busy": f"{CORE}/test_constraints.py",
    "`autoscaler keda` is": "tests/autoscaler/keda/test_server.py",
    "Two queues, one application": "tests/docs/test_example.py::test_it_is_shown_as_it_is_run",
    "uv build --wheel": f"{HERE}::test_its_install_lines_give_both_programs_and_the_companion",
    "Do not start the worker with `--autoscale`": (
        "tests/autoscaler/worker/test_pools.py::test_pools_of_fixed_size_are_refused_with_the_reason"
    ),
    '`-c "$(autoscaler concurrency)"` would start with the maximum': (
        "tests/autoscaler/cli/test_concurrency.py"
    ),
    "`check` lists what is missing": STEPS,
    "`once` prints one decision": STEPS,
    "The daemon decides and reports, and resizes nothing": STEPS,
    "Read `/status` on port 9809": f"{HERE}::test_its_defaults_are_those_of_the_code",
    "The maximum is one process for each core": f"{HERE}::test_its_defaults_are_those_of_the_code",
    "A second one stands by, logs that it does": (
        "tests/autoscaler/report/test_status.py"
        "::test_a_standby_says_that_it_is_one_whatever_it_decides_and_a_leader_does_not"
    ),
    "and names the cheapest that keeps the\ntarget": (
        f"{FIRST_HOUR}::test_a_trace_is_replayed_and_the_winner_named"
    ),
    "docs/page-light.png": "tests/autoscaler/report/test_page_in_chromium.py",
    "docs/back-test.png": "tests/docs/test_back_test.py::test_the_command_and_its_picture_are_on_the_page",
    "[Compose file](docs/compose.md)": "tests/deploy/test_compose.py",
    "[systemd units](docs/systemd.md)": "tests/deploy/test_systemd.py",
    "[Kustomize component](docs/kubernetes.md)": "tests/deploy/test_kubernetes.py",
    "`--target-wait 5s` is the default": f"{HERE}::test_its_defaults_are_those_of_the_code",
    "`--target-wait reports=60s` sets it for one queue": (
        "tests/docs/test_example.py::test_its_workers_are_sized_by_the_target_of_their_queue_and_every_task_runs"
    ),
    "`--min`, `--max` and the container's limits always hold": f"{CORE}/test_decider_properties.py",
    "What cannot be read is treated as unknown": f"{CORE}/test_decider_properties.py",
    "| what | result | command |": f"{HERE}::test_the_commands_of_its_figures_exist",
    "run `docservice migrate`, `docservice api` and `docservice worker`": (
        f"{CURLS}::test_a_file_is_uploaded_and_a_page_is_answered"
    ),
    "Then upload a file and ask for a page": f"{CURLS}::test_a_file_is_uploaded_and_a_page_is_answered",
    "[Getting started](docs/getting-started.md)": f"{HERE}::test_it_leads_to_every_page",
    "zensical serve": (
        "tests/docs/test_site.py::test_it_builds_strictly_and_no_page_loads_anything_from_elsewhere"
    ),
}
#: A statement by words of it, and why it is not checked.
UNCHECKED = {
    "pip install uv": "needs a machine without uv, and a registry: a fresh clone does it",
    "git+https://HOST/OWNER/REPOSITORY@TAG": "the repository has no public address yet",
    "a pod takes tens of seconds to start": "a claim about others, with its source",
    "the signal can hit a child that holds a task": "a claim about others, with its source",
    "too small at the peak or paid for all night": "an opinion about a fixed pool",
    "On two shared cores": "the figures themselves take hours: their commands stand beside them",
    "With `--worker NAME` a daemon resizes that worker only": "a rule of core/groups.py",
}


def default_of(flag: str) -> str:
    (found,) = [one.default for one in settings.ALL if one.flag == flag]
    return found


def measured() -> list[list[str]]:
    """The rows of the table of figures: what, result, command."""
    rows = README.partition("## Measured")[2].partition("\n## ")[0]
    cells = [row.strip("| ").split(" | ") for row in rows.splitlines() if row.startswith("| ")]
    return cells[1:]


def test_every_statement_that_is_listed_stands_in_it_and_its_test_exists():
    assert [words for words in (CHECKED | UNCHECKED) if words not in README] == []
    missing = []
    for test in CHECKED.values():
        path, _, name = test.partition("::")
        if not (TOP / path).is_file() or (name and f"def {name}(" not in (TOP / path).read_text()):
            missing.append(test)
    assert missing == []


def test_every_paragraph_of_it_has_a_statement_that_is_listed():
    prose = re.sub(r"(?ms)^ *```.*?^ *```|<!--.*?-->", "", README)
    parts = [part for part in re.split(r"\n\n+", prose) if re.search(r"[a-z]\S* \S+ \S+", part)]
    headings = [part for part in parts if part.startswith("#") and "\n" not in part]
    unlisted = [
        part
        for part in parts
        if part not in headings and not any(words in part for words in (CHECKED | UNCHECKED))
    ]
    assert unlisted == []


def test_its_figures_of_the_demo_are_those_of_the_code():
    about = README.partition("```\n\n")[2].partition("\n\n")[0]
    files, pages, wait = re.findall(r"(\d+) files.* (\d+) pages.*wait of (\d+) seconds", about, re.DOTALL)[0]
    assert (int(files), int(pages)) == (demo.MAILS + demo.PDFS, demo.PAGES)
    assert f"{wait}s" == default_of("--target-wait")


@pytest.mark.slow
def test_its_install_lines_give_both_programs_and_the_companion(tmp_path):
    build, install = re.findall(r"(?m)^ +(uv build --wheel|pip install dist/.*)$", README)
    subprocess.run((*shlex.split(build), "--out-dir", tmp_path, "-q"), cwd=TOP, check=True)
    (wheel,) = tmp_path.glob(Path(install.split()[-1]).name)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entries,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert re.findall(r"(?m)^(\w+) =", entries) == list(PROJECT["project"]["scripts"])
    assert {"autoscaler/companion.py", "docservice/cli/main.py"} <= set(names)


def test_the_commands_of_its_figures_exist():
    commands = [cell.strip("`").removeprefix("uv run ").split() for *_, cell in measured()]
    modules = [words[2].replace(".", "/") for words in commands if words[:2] == ["python", "-m"]]
    files = [words[1] for words in commands if words[0] == "python" and words[1] != "-m"]
    assert {words[0] for words in commands} == {"python"}
    assert [
        name
        for name in modules
        if not ((TOP / f"{name}.py").exists() or (TOP / name / "__main__.py").exists())
    ] == []
    assert [name for name in files if not (TOP / name).exists()] == []


def test_it_leads_to_every_page():
    pages = {path.name for path in (TOP / "docs").glob("*.md")} - {"index.md"}
    assert pages - set(re.findall(r"docs/([\w-]+\.md)", README)) == set()


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
    assert "one process for each core" in README
    assert default_of("--processes-per-core") == "1"
    celery = next(one for one in PROJECT["project"]["dependencies"] if one.startswith("celery"))
    assert f"Celery {celery.partition('>=')[2]} or newer" in README


def test_the_security_page_names_the_default_address():
    assert f"default address is\n`{default_of('--listen')}`" in (TOP / "docs/security.md").read_text()


def test_its_figures_are_those_of_the_benchmarks_page():
    page = (TOP / "docs/benchmarks.md").read_text()
    lost = re.findall(r"(\d+) of ([\d,]+) tasks lost", README)
    figures = {number for pair in lost for number in pair} | {
        number
        for what, result, _ in measured()
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?", f"{what} {result}")
    }
    assert len(lost) == 1
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
