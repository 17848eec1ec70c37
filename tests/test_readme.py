"""What the README says is what the code does."""

from __future__ import annotations

import re

from click.testing import CliRunner

from autoscaler.cli.main import main
from autoscaler.core.model import Reason
from autoscaler.core.policy import Policy
from tests.support.builders import Walk, container, decide, decision, look, worker
from tests.support.readme_tables import README, TABLES, metric_rows, written


def test_its_tables_are_those_of_the_code():
    text = README.read_text()
    assert all(f"<!-- {name}: begin -->" in text for name in TABLES)
    assert text == written(text), "run: uv run python -m tests.support.readme_tables"


def test_every_flag_and_command_it_names_exists():
    shown = CliRunner().invoke(main, ["--help"]).output
    commands = set(re.findall(r"^  ([a-z]+)  ", shown, flags=re.MULTILINE))
    named = set(
        re.findall(
            r"\bautoscaler (run|[a-z]+)(?= |`|$)", "\n".join(re.findall(r"`(.+?)`", README.read_text()))
        )
    )
    assert named <= commands
    helps = "".join(CliRunner().invoke(main, [command, "--help"]).output for command in commands)
    flags = set(re.findall(r"`(--[a-z][a-z-]+)", README.read_text()))
    of_celery = {"--autoscale", "--pool", "--concurrency"}
    assert {flag for flag in flags - of_celery if flag not in helps} == set()


def test_its_worked_example_is_what_the_code_decides():
    busy = worker(processes=4, busy=4)
    assert decide(look(3, busy), policy=Policy(max_processes=16).immediate())[0].desired == 7
    capped = decide(look(3, busy), policy=Policy(max_processes=6).immediate())
    assert capped == (decision(4, 6, Reason.AT_MAX),)
    quota = worker(processes=4, busy=4, container=container(cpu_limit_cores=5.5, cpu_limited=True))
    assert decide(look(3, quota), policy=Policy(max_processes=16).immediate()) == (
        decision(4, 5, Reason.CPU_CEILING),
    )
    walk, seen = Walk(Policy(max_processes=16)), []
    while not seen or seen[-1].desired == 7:
        seen += walk.see(0, worker(processes=7, busy=2)).decisions
    reasons = [one.reason for one in seen]
    assert list(dict.fromkeys(reasons)) == [Reason.DELAYED, Reason.STABILIZING, Reason.STEP]
    assert seen[-1] == decision(7, 3, Reason.STEP)
    walk.sent(3)
    assert walk.see(0, worker(processes=3, busy=2)).decisions == (decision(3, 3, Reason.STEADY),)


def test_every_metric_of_the_design_is_there():
    names = {name.removeprefix("celery_autoscaler_") for name, *_ in metric_rows()}
    assert names >= {
        "queue_depth",
        "queue_oldest_message_age_seconds",
        "worker_processes",
        "worker_processes_busy",
        "worker_processes_target",
        "worker_processes_limit",
        "decisions_total",
        "actions_total",
        "action_duration_seconds",
        "cooldown_remaining_seconds",
        "tick_duration_seconds",
        "last_tick_timestamp_seconds",
        "sensor_errors_total",
        "sensor_age_seconds",
        "cgroup_cpu_limit_cores",
        "cgroup_cpu_usage_ratio",
        "cgroup_memory_limit_bytes",
        "cgroup_memory_usage_bytes",
        "leader",
        "paused",
        "build_info",
    }
