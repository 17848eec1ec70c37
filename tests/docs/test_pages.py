"""What the documents say is what the code does."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from autoscaler.api import OverrideRequest
from autoscaler.cli.main import main as autoscaler
from autoscaler.core.model import Reason
from autoscaler.core.policy import Policy
from autoscaler.settings import table as settings
from docservice.cli.main import main as docservice
from docservice.config import Settings
from tests.docs.markdown import DOCUMENTS, TOP, anchors, blocks, commands, links, spans
from tests.support.builders import Walk, container, decide, decision, look, worker
from tests.support.doc_tables import DOCS, TABLES, metric_rows, pages, subcommands, written

if TYPE_CHECKING:
    from pathlib import Path

    import click

PROGRAMS = {"autoscaler": autoscaler, "docservice": docservice}
#: Options of other programs that the documents name in a code span of their own.
OTHERS = {"--autoscale", "--prefetch-multiplier", "--read-only", "--set", "--slice", "--without-gossip"}
KEDA_METRICS = {
    f"celery_autoscaler_keda_{name}"
    for name in (
        "calls",
        "answer_processes",
        "target_processes",
        "active",
        "input",
        "look_age_seconds",
        "build_info",
    )
}
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))


def test_each_generated_table_is_on_one_page_and_equals_the_code():
    texts = {page: page.read_text() for page in pages()}
    places = {name: sum(text.count(f"<!-- {name}: begin -->") for text in texts.values()) for name in TABLES}
    assert places == dict.fromkeys(TABLES, 1)
    stale = [page.name for page, text in texts.items() if text != written(text)]
    assert stale == [], "run: uv run python -m tests.support.doc_tables"


def test_every_page_is_in_the_navigation_and_every_entry_has_a_page():
    config = tomllib.loads((DOCS / "zensical.toml").read_text())

    def files(entries: list) -> list[str]:
        found = []
        for entry in entries:
            for value in entry.values():
                found += files(value) if isinstance(value, list) else [value]
        return found

    assert sorted(files(config["project"]["nav"])) == [page.name for page in pages()]


@every_document
def test_every_link_leads_to_a_file_and_a_heading_that_there_are(path: Path):
    broken = []
    for link in links(path.read_text()):
        if urlsplit(link).scheme:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


@cache
def options(program: str, *words: str) -> frozenset[str]:
    """The options of a command by its own help."""
    shown = CliRunner().invoke(PROGRAMS[program], [*words, "--help"], prog_name=program).output
    if words == ("healthcheck",):
        shown += "--listen --ready --url"
    return frozenset(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", shown))


def named(program: str, words: list[str]) -> list[str]:
    """The words of the command: of a group in a group, two."""
    command: click.Command = PROGRAMS[program]
    found = []
    for word in words:
        inner = subcommands(command)
        if not inner:
            break
        found.append(word)
        if word not in inner:
            break
        command = inner[word]
    return found


@every_document
def test_every_command_exists_and_takes_the_options_that_it_is_given(path: Path):
    faults = []
    for program, group in PROGRAMS.items():
        for words in commands(path.read_text(), program):
            if not words:
                continue
            command = named(program, words)
            if command[0] not in subcommands(group):
                faults.append(f"{program} {command[0]}")
            elif program == "docservice" and command[0] == "worker":
                continue  # what it does not know goes to celery
            else:
                flags = {word.partition("=")[0] for word in words if word.startswith("--")}
                faults += [
                    f"{program} {' '.join(command)} {flag}" for flag in flags - options(program, *command)
                ]
    assert faults == []


def every_option() -> set[str]:
    found = {"--help", "--version"}
    for program, group in PROGRAMS.items():
        for name, command in subcommands(group).items():
            found |= options(program, name)
            for inner in subcommands(command):
                found |= options(program, name, inner)
    return found


@every_document
def test_every_option_in_a_code_span_exists(path: Path):
    flags = {match[0] for span in spans(path.read_text()) if (match := re.match(r"--[a-z][a-z-]+", span))}
    of_a_kind = {flag for flag in flags if flag.endswith("-")}  # `--scale-up-…`
    unknown = flags - of_a_kind - every_option() - OTHERS
    unknown |= {kind for kind in of_a_kind if not any(flag.startswith(kind) for flag in every_option())}
    assert unknown == set()


@every_document
def test_every_variable_is_one_that_the_programs_read(path: Path):
    known = {one.variable for one in (*settings.ALL, *settings.KEDA)}
    known |= {item.metadata["name"] for item in Settings.__dataclass_fields__.values()}
    known |= {f"{name}_FILE" for name in known}
    for group in PROGRAMS.values():
        for command in (group, *subcommands(group).values()):
            for parameter in command.params:
                given = parameter.envvar or ()
                known |= {given} if isinstance(given, str) else set(given)
    names = set(re.findall(r"\b(?:AUTOSCALER|DOCSERVICE|CELERY_AUTOSCALE)_[A-Z_]*[A-Z]\b", path.read_text()))
    assert names - known == set()


@every_document
def test_every_metric_and_module_and_file_that_is_named_exists(path: Path):
    text = path.read_text()
    metrics = {name.removesuffix("_total") for name, *_ in metric_rows()} | KEDA_METRICS
    shown = set(re.findall(r"\bcelery_autoscaler_[a-z_]+[a-z]", text))
    assert {name for name in shown if name.removesuffix("_total") not in metrics} == set()
    modules = re.findall(r"python -m ((?:tests|autoscaler|docservice)[\w.]*)", text)
    missing = [
        name
        for name in modules
        if not any((TOP / (name.replace(".", "/") + end)).is_file() for end in (".py", "/__main__.py"))
    ]
    scripts = re.findall(r"python (tests/[\w/]+\.py)", text)
    files = {
        span.rstrip("/")
        for span in spans(text)
        if re.fullmatch(r"(?:autoscaler|docservice|tests|deploy|docs|\.github|\.ci)/[\w./-]*", span)
    }
    missing += [
        name
        for name in (*scripts, *files)
        if not name.startswith("deploy/secrets") and not (TOP / name).exists()
    ]
    assert missing == []


def test_every_reason_in_the_advice_exists_and_every_alert_is_one_of_the_rules():
    advice = (DOCS / "reasons.md").read_text().partition("## What to do about them")[2]
    words = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"(?m)^\| (`.*?`) \|", advice))))
    assert words - set(Reason) == set()
    rules = (TOP / "deploy/prometheus/rules.yml").read_text()
    alerts = set(
        re.findall(
            r"\b(?:Celery(?:Autoscaler|Worker|Keda|Queue|Pool|Target)|Docservice)[A-Z]\w+",
            "".join(p.read_text() for p in DOCUMENTS),
        )
    )
    assert {alert for alert in alerts if f"alert: {alert}\n" not in rules} == set()


def test_every_alert_has_a_runbook_that_its_address_leads_to_and_every_runbook_an_alert():
    rules = yaml.safe_load((TOP / "deploy/prometheus/rules.yml").read_text())
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    page = (DOCS / "runbooks.md").read_text()
    sections = dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^##|\Z)", page))
    assert set(sections) == set(alerts)
    for name, rule in alerts.items():
        address = rule["annotations"]["runbook_url"]
        assert address == f"docs/runbooks.md#{name.lower()}"
        assert name.lower() in anchors(page)
        assert re.findall(r"(?m)^- \*\*(\w+)\*\*", sections[name]) == ["Means", "Look", "Do"]
        assert {"severity"} <= set(rule["labels"])
        assert {"summary", "description"} <= set(rule["annotations"])


def test_the_worked_example_is_what_the_code_decides():
    page = (DOCS / "how-it-decides.md").read_text().partition("### A worked example")[2]
    rows = re.findall(r"(?m)^\| (?!situation|time|---)(.+?) \| (.+?) \| `(\w+)` \|$", page)
    assert rows == [
        ("`--max 16`", "4 → 7", "load_high"),
        ("`--max 6`", "4 → 6", "at_max"),
        ("a quota of 5.5 cores", "4 → 5", "cpu_ceiling"),
        ("the first 15 seconds", "7 stays", "delayed"),
        ("until no tick of the last 30 seconds recommended more", "7 stays", "stabilizing"),
        ("then, at most 4 at once", "7 → 3", "step"),
        ("the load is now 0.67, between the thresholds", "3 stays", "steady"),
    ]
    busy = worker(processes=4, busy=4)
    roomy = Policy(max_processes=16).immediate()
    assert decide(look(3, busy), policy=roomy) == (decision(4, 7, Reason.LOAD_HIGH),)
    capped = decide(look(3, busy), policy=Policy(max_processes=6).immediate())
    assert capped == (decision(4, 6, Reason.AT_MAX),)
    quota = worker(processes=4, busy=4, container=container(cpu_limit_cores=5.5, cpu_limited=True))
    assert decide(look(3, quota), policy=roomy) == (decision(4, 5, Reason.CPU_CEILING),)
    walk, seen = Walk(Policy(max_processes=16)), []
    while not seen or seen[-1].reason in (Reason.DELAYED, Reason.STABILIZING):
        seen += walk.see(0, worker(processes=7, busy=2)).decisions
    reasons = [one.reason for one in seen]
    assert list(dict.fromkeys(reasons)) == [Reason.DELAYED, Reason.STABILIZING, Reason.STEP]
    assert seen[-1] == decision(7, 3, Reason.STEP)
    walk.sent(3)
    assert walk.see(0, worker(processes=3, busy=2)).decisions == (decision(3, 3, Reason.STEADY),)


def test_every_series_of_the_metrics_page_has_its_labels():
    labels = {name.removeprefix("celery_autoscaler_"): found for name, _, found, _ in metric_rows()}
    by = {
        "queue": {"queue_depth", "queue_oldest_message_age_seconds"},
        "queues": {"service_time_seconds", "arrivals_per_second", "shadow_processes_target"},
        "worker": {"worker_processes", "worker_processes_target", "cgroup_cpu_usage_ratio"},
        "action, reason": {"decisions_total"},
        "action, result": {"actions_total"},
        "sensor": {"sensor_errors_total", "sensor_age_seconds"},
        "bound, worker": {"worker_processes_limit"},
        "": {"leader", "paused", "last_tick_timestamp_seconds", "tick_duration_seconds"},
    }
    assert {name: labels.get(name) for names in by.values() for name in names} == {
        name: label for label, names in by.items() for name in names
    }


def test_the_override_that_is_shown_is_legal():
    (text,) = re.findall(r"SET autoscaler:default:override '(\{.*?\})' EX", (DOCS / "redis.md").read_text())
    assert OverrideRequest.from_json(text) == OverrideRequest(paused=True, by="ann", why="migration")


def test_the_changelog_has_the_form_of_keep_a_changelog():
    text = (DOCS / "changelog.md").read_text()
    versions = re.findall(r"(?m)^## \[(.+?)\]", text)
    assert versions[0] == "Unreleased"
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert project["version"] in versions
    kinds = set(re.findall(r"(?m)^### (.+)$", text))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_no_document_but_the_readmes_and_the_site_is_left():
    tracked = {
        path.relative_to(TOP)
        for path in TOP.rglob("*.md")
        if not any(
            (part.startswith(".") and part != ".github") or part in ("node_modules", "build")
            for part in path.relative_to(TOP).parts
        )
    }
    assert tracked == {path.relative_to(TOP) for path in DOCUMENTS}


@every_document
def test_shell_blocks_can_be_parsed_by_a_shell(path: Path):
    plain = [
        block
        for block in blocks(path.read_text())
        if re.match(r"(?:pip|uv|autoscaler|docservice|export|curl|docker|kubectl|mkdir|\()", block)
    ]
    faults = [
        block
        for block in plain
        if subprocess.run(
            ("bash", "-n"), input=block, text=True, check=False, env={"PATH": os.environ["PATH"]}
        ).returncode
    ]
    assert faults == []
