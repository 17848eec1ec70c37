"""A worker that a limit keeps from growing while tasks wait is a condition: which limit, and what to do."""

from __future__ import annotations

import pytest

from autoscaler.core.decider import Mode
from autoscaler.core.model import Override
from autoscaler.report.status import CONDITION_KINDS, conditions
from tests.autoscaler.report.test_status import record_of
from tests.support.builders import container, look, prompt_policy, worker

MEBI = 2**20
WHERE = "start another worker for celery"
IO = "--processes-per-core where tasks wait (I/O) more than they compute"
CPUS = container(cpu_limit_cores=4.0, cpu_limited=True)
MACHINE = container(cpu_limit_cores=4.0, cpu_limited=False)
MEMORY = container(
    cpu_limit_cores=64.0,
    cpu_limited=True,
    memory_limit_bytes=1000 * MEBI,
    memory_limited=True,
    memory_used_bytes=700 * MEBI,
    child_rss_bytes=(200 * MEBI,) * 4,
)


def found(record):
    return {name: state for (kind, name), state in conditions(record, Mode.ACT).items() if kind == "ceiling"}


@pytest.mark.parametrize(
    ("maximum", "limits", "override", "state"),
    [
        pytest.param(4, None, Override(), f"--max (at_max); raise it, or {WHERE}", id="max"),
        pytest.param(
            10,
            None,
            Override(max_processes=4),
            f"the max of an override, see autoscaler limits (at_max); raise it, or {WHERE}",
            id="an administrator's max",
        ),
        pytest.param(
            10,
            CPUS,
            Override(),
            f"the container's CPU limit (cpu_ceiling); raise it, or {IO}, or {WHERE}",
            id="the CPU limit",
        ),
        pytest.param(
            None,
            None,
            Override(),
            "--max auto, since no limit of its container is known (unknown_limit); load the companion, or"
            " give --max, --cpu-limit or --limits-folder",
            id="no limit is known",
        ),
        pytest.param(
            None,
            MACHINE,
            Override(),
            f"what this machine has, as --max is auto (machine); raise {IO}, or {WHERE} elsewhere",
            id="the machine",
        ),
        pytest.param(
            64,
            MEMORY,
            Override(),
            f"the container's memory limit (memory_ceiling); raise it, or {WHERE}",
            id="the memory limit",
        ),
    ],
)
def test_what_limits_a_worker_with_a_backlog_is_named_with_what_to_do(maximum, limits, override, state):
    seen = look(1000, worker("w@h", processes=4, busy=4, container=limits), override=override)
    policy = prompt_policy(max_processes=maximum)
    assert found(record_of(seen, policy=policy)) == {
        "w@h": f"tasks wait and it stays at 4 processes, limited by {state}"
    }


def test_one_process_is_one():
    seen = look(1000, worker("w@h", processes=1, busy=1))
    (state,) = found(record_of(seen, policy=prompt_policy(max_processes=1))).values()
    assert state.startswith("tasks wait and it stays at 1 process, limited by --max")


@pytest.mark.parametrize(
    ("waiting", "processes"), [(0, 4), (None, 4), (1000, 3)], ids=["no work", "unknown", "still growing"]
)
def test_a_worker_without_a_backlog_or_below_its_ceiling_has_no_such_condition(waiting, processes):
    seen = look(waiting, worker("w@h", processes=processes, busy=processes))
    assert found(record_of(seen, policy=prompt_policy(max_processes=4))) == {}


def test_the_kind_has_a_series_of_its_own():
    assert "ceiling" in CONDITION_KINDS
