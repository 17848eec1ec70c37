"""``autoscaler tune``: the search on a trace, as the command prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from autoscaler.cli.simulate import command as simulate_command
from autoscaler.cli.tune import command as tune_command
from autoscaler.simulation import workloads
from tests.support.simulate import TASKS, run, written

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_tune_prints_flags_that_simulate_takes_and_that_keep_the_target(tmp_path: Path):
    trace = workloads.on_off(seed=2, seconds=300)
    rows = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
    path = written(tmp_path, "offset_s,service_s\n" + "\n".join(f"{at},{takes}" for at, takes in rows))
    tuned = run(tune_command, path, "--target-wait", "4s", "--max", "40")
    flags = tuned.output.splitlines()[-1]
    words = ("--json", "--no-peers", *flags.split())
    found = json.loads(run(simulate_command, path, *words).output)["policies"][0]
    as_json = json.loads(run(tune_command, path, "--target-wait", "4s", "--max", "40", "--json").output)
    assert (tuned.exit_code, found["within_target"] >= 0.999) == (0, True)
    assert " ".join(as_json["flags"]) == flags
    assert {**as_json["replayed"], "policy": ""} == {**found, "policy": ""}
    assert len(as_json["policies"]) == 24


def test_tune_prints_no_bound_that_was_not_given(tmp_path: Path):
    path = written(tmp_path, TASKS)
    plain = run(tune_command, path).output.splitlines()[-1].split()
    given = run(tune_command, path, "--min", "2", "--interval", "1").output.splitlines()[-1].split()
    assert plain[::2] == ["--target-wait", "--start-worth", "--release-caution"]
    assert given[6:] == ["--interval", "1", "--min", "2"]


def test_tune_prints_whatever_was_given_and_has_shaped_the_replay(tmp_path: Path):
    given = {"--scale-down-cooldown": "90", "--min-interval": "2", "--memory-per-process": "100Mi"}
    words = [word for flag in {**given, "--scale-up-threshold": "3"}.items() for word in flag]
    found = run(tune_command, written(tmp_path, TASKS), *words).output.splitlines()[-1].split()
    assert dict(zip(found[6::2], found[7::2], strict=True)) == {**given, "--memory-per-process": "104857600"}


def test_tune_shows_alike_settings_once_and_says_how_it_chose(tmp_path: Path):
    done = run(tune_command, written(tmp_path, TASKS))
    lines = done.output.splitlines()
    rows = lines[4 : lines.index("", 4)]
    figures = [row.rpartition("alike)")[2] or row for row in rows]
    assert len({*figures}) == len(figures) < 8
    start = "Taken: start worth 35, caution 0. 24 of 24 settings start 99.90% of the tasks within 5 s"
    chosen = next(line for line in lines if line.startswith("Taken"))
    assert chosen.startswith(start)
    assert "least process-seconds, with 35 s added for each start (--start-worth)" in chosen
    assert chosen.endswith("others came to the same. On a tie fewer starts win, then the flags as given.")


def test_tune_says_when_nothing_keeps_the_target(tmp_path: Path):
    done = run(tune_command, written(tmp_path, "offset_s,service_s\n0,10\n0,10\n"), "--max", "1")
    line = (
        "autoscaler: no setting keeps 5 s for 99.90% of the tasks, the best does for 50.00%;"
        " raise --max or --target-wait, or lower --share\n"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", line)
