"""What ``simulate`` and ``tune`` share: their options, checked before the simulation."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import pytest

from autoscaler.cli.simulate import command as simulate_command
from autoscaler.cli.tune import command as tune_command
from tests.support.simulate import TASKS, run, written

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target-wait", "soon"), "'soon'; it must be a time, as in 5s, 500ms or 2m"),
        (("--target-wait", "mails=5s"), "'mails=5s'; one queue is simulated: give its time alone, as in 5s"),
        (("--start-delay", "-1s"), "'-1s'; it must be a time, as in 30s, 5m, 2h or 1d"),
        (("--interval", "0"), "'0'; it must be a number from 0.2 to 300 (seconds)"),
        (("--max", "0"), "--max is '0'; it must be a whole number from 1 to 10000 (processes), or auto"),
        (("--min", "100"), "max_processes is 64, below min_processes, which is 100"),
    ],
)
def test_an_option_with_a_fault_is_named_with_what_is_legal(
    tmp_path: Path, words: tuple[str, ...], message: str
):
    done = run(simulate_command, written(tmp_path, TASKS), *words)
    assert (done.exit_code, message in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_plot_is_refused_before_the_simulation_or_drawn(tmp_path: Path):
    path = written(tmp_path, TASKS)
    done = run(simulate_command, path, "--no-peers", "--plot", tmp_path / "out.png")
    if importlib.util.find_spec("matplotlib") is None:
        assert (done.exit_code, done.stdout, done.stderr) == (
            1,
            "",
            (
                "autoscaler: matplotlib is not installed; run: pip install 'celery-pool-autoscaler[plot]'"
                " (in a checkout: uv run --extra plot autoscaler ...)\n"
            ),
        )
    else:
        assert (done.exit_code, (tmp_path / "out.png").read_bytes()[:4]) == (0, b"\x89PNG")
        assert done.stderr == f"autoscaler: the plot was written to {tmp_path / 'out.png'}\n"
        done = run(tune_command, path, "--plot", tmp_path / "tuned.png")
        assert (done.exit_code, (tmp_path / "tuned.png").read_bytes()[:4]) == (0, b"\x89PNG")


def test_a_trace_that_would_take_hours_is_refused(tmp_path: Path):
    path = written(tmp_path, "offset_s,service_s\n0,1\n31536000,1\n")
    done = run(simulate_command, path, "--interval", "2")
    fault = "it lasts 31536000 s, more than 2000000 ticks of --interval 2; cut the trace, or raise --interval"
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: {path.name}: {fault}\n")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            "0,1\n1,31536000\n2,1\n",
            (
                "task 2 runs for 3.1536e+07 s and ends at 31536001 s, more than 2000000 ticks of --interval"
                " 2; correct its service time, or raise --interval"
            ),
        ),
        (
            "0,3000000\n" * 2,
            (
                "its work lasts 6000000 s on 1 processes, more than 2000000 ticks of --interval 2;"
                " raise --max, or --interval"
            ),
        ),
    ],
    ids=["one task of a year", "much work on one process"],
)
def test_service_times_that_would_take_hours_are_refused_at_once(tmp_path: Path, rows: str, fault: str):
    path = written(tmp_path, f"offset_s,service_s\n{rows}")
    done = run(simulate_command, path, "--interval", "2", "--max", "1")
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: {path.name}: {fault}\n")


@pytest.mark.parametrize("stated", ["off", "mails=30s", "7s mails=30s"])
def test_a_target_of_the_daemons_environment_is_taken_for_what_it_says_of_all_queues(
    tmp_path: Path, stated: str
):
    path = written(tmp_path, TASKS)
    done = run(simulate_command, path, "--no-peers", "--json", AUTOSCALER_TARGET_WAIT=stated)
    assert json.loads(done.stdout)["target_wait_seconds"] == (7.0 if "7s" in stated else 5.0)
