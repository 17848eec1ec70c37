"""The command line as a whole: what it loads, and what its errors repeat."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from autoscaler.cli.main import COMMANDS, main
from autoscaler.settings import table
from tests.support.cluster import ROOT

URL = "redis://me:s3cret@127.0.0.1:1/0"


def test_every_command_has_a_short_help_that_is_not_cut():
    lines = CliRunner().invoke(main, ["--help"], terminal_width=100).output.partition("Commands:")[2]
    found = {line.split()[0]: line for line in lines.splitlines() if line.strip()}
    assert found.keys() == COMMANDS.keys()
    assert [line for line in found.values() if line.endswith("...") or not line.endswith(".")] == []


@pytest.mark.parametrize(
    "words",
    [
        ["run", URL],
        ["run", f"--redis-ulr={URL}"],
        [URL],
        [f"--{URL}"],
        ["run", "--listen", URL],
        ["healthcheck", "--listen", URL],
        ["drain", URL],
        ["drain", "w@h", "--deadline", URL],
        ["pause", "--for", URL],
        ["pause", "--name", URL],
        ["hold", URL],
        ["limits", "--max", URL],
        ["events", "--count", URL],
        ["keda", "--keda-listen", URL],
        ["simulate", URL],
        ["simulate", "--seed", URL],
        ["concurrency", "--min", URL],
        ["demo", "--seconds", URL],
        ["healthcheck", "--listen", "redis://:" + "x" * 70 + "s3cret@h"],
    ],
)
def test_a_url_in_the_wrong_place_is_refused_without_its_login(words):
    done = CliRunner().invoke(main, words, env={"REDIS_URL": "redis://127.0.0.1:1"})
    assert (done.exit_code, "s3cret" in done.output, "xxx" in done.output) == (2, False, False), done.output


def test_a_url_in_a_variable_that_is_none_of_it_is_refused_without_its_login():
    done = CliRunner().invoke(main, ["healthcheck"], env={"AUTOSCALER_LISTEN": URL})
    message = (
        "autoscaler: AUTOSCALER_LISTEN is 'redis://***@127.0.0.1:1/0'; it must be HOST:PORT, for instance"
    )
    assert (done.exit_code, done.stderr) == (2, f"{message} 0.0.0.0:9809\n")


@pytest.mark.parametrize("text", ["٣", "１２", "1_0", " 10"])  # noqa: RUF001 - the point of it
def test_numbers_of_every_command_are_ascii(text):
    for words in (
        ["drain", "w@h", "--deadline"],
        ["demo", "--seconds"],
        ["events", "--count"],
        ["run", "--max"],
    ):
        done = CliRunner().invoke(main, [*words, text], env={"REDIS_URL": "redis://127.0.0.1:1"})
        assert (done.exit_code, "number from" in done.stderr) == (2, True), done.output


def test_a_health_check_loads_neither_celery_nor_redis():
    script = (
        "import sys; from autoscaler.__main__ import main\n"
        "sys.argv = ['autoscaler', 'healthcheck', '--listen', '127.0.0.1:1']\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'celery', 'kombu', 'redis', 'structlog'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_an_unknown_variable_is_one_line_on_standard_error():
    environment = {"AUTOSCALER_MIX": "3", "AUTOSCALER_MAX": "1", "REDIS_URL": ""}
    done = CliRunner().invoke(main, ["concurrency"], env=environment)
    line = "autoscaler: AUTOSCALER_MIX is not a setting and has no effect; did you mean AUTOSCALER_MIN?\n"
    assert (done.exit_code, done.stdout, done.stderr in {line, line.replace("MIN", "MAX")}) == (
        0,
        "1\n",
        True,
    )


def test_the_help_of_run_begins_with_the_target_wait_and_groups_every_setting():
    shown = CliRunner().invoke(main, ["run", "--help"]).stdout
    titles = re.findall(r"(?m)^(\S.*):$", shown)
    assert titles == [
        "Target wait",
        "Bounds",
        "Redis",
        "Scope",
        "Thresholds (used with --target-wait off)",
        "Limits of the container",
        "Output",
        "Other options",
    ]
    flags = re.findall(r"(?m)^  (--?[a-z-]+)", shown)
    assert flags[0] == "--target-wait"
    assert sorted(flags) == sorted([*(one.flag for one in table.ALL), "-h"])
    assert re.findall(r"(?m)^  (-\S+)", shown.partition("Other options:")[2]) == ["-h,"]


@pytest.mark.parametrize(
    ("flag", "metavar"),
    [("--target-wait", "SECONDS"), ("--max", "NUMBER"), ("--memory-limit", "SIZE"), ("--name", "TEXT")],
)
def test_the_help_shows_the_kind_of_each_value(flag, metavar):
    assert re.search(rf"(?m)^  {flag} {metavar}\b", CliRunner().invoke(main, ["run", "--help"]).stdout)
