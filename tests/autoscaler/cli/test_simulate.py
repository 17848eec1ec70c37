"""`simulate` and `tune`: from a file or a Prometheus to a table, and bad input by its row."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from autoscaler.cli.simulate import command as simulate_command
from autoscaler.simulation import workloads
from tests.support.simulate import TASKS, run, written

if TYPE_CHECKING:
    from pathlib import Path


def test_simulate_prints_our_ways_beside_the_peers(tmp_path: Path):
    done = run(simulate_command, written(tmp_path, TASKS), "--max", "4")
    lines = done.output.splitlines()
    assert (done.exit_code, lines[0]) == (
        0,
        "trace.csv: 4 tasks in 30 s, target wait 5 s; cost is process-seconds over seconds of work",
    )
    assert [re.sub(r" [0-9.%,]+( window \d+ s)?$", "", line.split("  ")[0]) for line in lines[4:-2]] == [
        "latency 5 s",
        "thresholds",
        "fixed",
        "celery 5.7 --autoscale",
        "celery 5.5 --autoscale",
        "keda list length",
        "knative kpa",
        "aws backlog per instance",
    ]
    assert lines[-1].startswith("A tie: latency 5 s, thresholds, fixed 1, ")
    assert lines[-1].endswith(
        "start 99% of the tasks within 5 s at the same least cost, 6.20, with 0 starts each."
    )


@pytest.mark.parametrize(
    ("words", "policies", "bound"),
    [
        (("--peers", "clairvoyant"), 2, "clairvoyant"),
        (("--peers", "all", "--peers", "clairvoyant"), 8, "clairvoyant"),
        (("--peers",), 8, None),
        ((), 8, None),
        (("--no-peers",), 2, None),
    ],
)
def test_a_plan_that_knows_the_future_is_a_bound_and_no_rival(
    tmp_path: Path, words: tuple[str, ...], policies: int, bound: str | None
):
    path = written(tmp_path, TASKS)
    found = json.loads(run(simulate_command, *words, path, "--max", "4", "--json").output)
    assert (len(found["policies"]), found.get("bound", {}).get("policy")) == (policies, bound)
    assert "clairvoyant" not in found["result"]


def test_the_bound_stands_below_a_rule_with_the_distance_to_it(tmp_path: Path):
    twice = written(tmp_path, "offset_s,service_s\n0,9\n1,9\n200,9\n201,9\n")
    lines = run(simulate_command, twice, "--max", "4", "--peers", "clairvoyant").output.splitlines()
    assert [line.split("  ")[0] for line in lines[2:-3]] == [
        *("policy", "-" * len(lines[3]), "latency 5 s", "thresholds", "-" * len(lines[3]), "clairvoyant")
    ]
    assert lines[-1] == (
        "A plan that knows the future (clairvoyant) costs 6.39 with 1 starts; latency 5 s takes 1.03 times"
        " that cost and 2.00 times those starts."
    )


def test_simulate_gives_every_figure_as_json(tmp_path: Path):
    # Each waits until the second tick at 2 s: the work there is.
    done = run(
        simulate_command,
        written(tmp_path, "offset_s,service_s\n0,4\n0.5,2\n6,3\n"),
        *("--max", 1, "--no-peers", "--json", "--target-wait", "2s"),
    )
    figures = {
        "within_target": pytest.approx(2 / 3),
        "wait_p50_seconds": 0.0,
        "wait_p95_seconds": 3.5,
        "wait_p99_seconds": 3.5,
        "cost": 1.0,
        "process_seconds": 9.0,
        "starts": 0,
        "changes": 0,
        "peak_processes": 1,
    }
    assert (done.exit_code, json.loads(done.output)) == (
        0,
        {
            "trace": "trace.csv",
            "tasks": 3,
            "duration_seconds": 6.0,
            "target_wait_seconds": 2.0,
            "policies": [{"policy": "latency 2 s", **figures}, {"policy": "thresholds", **figures}],
            "result": "No policy starts 99% of the tasks within 2 s; latency 2 s comes nearest with 66.67%",
        },
    )


def test_counts_are_drawn_the_same_each_time_from_a_service_model(tmp_path: Path):
    path = written(tmp_path, "timestamp,value\n2026-01-01 00:00:00,40\n2026-01-01 00:05:00,0\n")
    words = (path, "--service-mean", "2", "--service-cv", "0.5", "--no-peers", "--json")
    first, second, other = (run(simulate_command, *words, "--seed", seed) for seed in (1, 1, 2))
    found = json.loads(first.output)
    assert (found["tasks"], found["duration_seconds"]) == (40, 600.0)
    assert first.output == second.output != other.output


def test_flags_and_variables_of_the_daemon_reach_its_decider(tmp_path: Path):
    trace = workloads.on_off(seed=1, seconds=600)
    rows = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
    path = written(tmp_path, "offset_s,service_s\n" + "\n".join(f"{at},{takes}" for at, takes in rows))
    peaks = [
        json.loads(run(simulate_command, path, "--no-peers", "--json", *words, **variables).output)
        for words, variables in (
            (("--max", "7"), {}),
            ((), {"AUTOSCALER_MAX": "9"}),
            (("--max-step-up", "2", "--scale-up-cooldown", "300"), {}),
        )
    ]
    found = [[policy["peak_processes"] for policy in one["policies"]] for one in peaks]
    assert (found[0], found[1], found[2][1] <= 5) == ([7, 7], [9, 9], True)
