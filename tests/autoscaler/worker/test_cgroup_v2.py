"""The files of a v2 group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker import cgroup_v2
from autoscaler.worker.cgroup import read_cgroup
from tests.support.cgroup_trees import (
    GIB,
    LIMITED,
    MIB,
    UNLIMITED,
    limits_of_the_usual_container,
    machine,
    v2_group,
    v2_limits,
    v2_mount,
)

if TYPE_CHECKING:
    from tests.support.cgroup_trees import Plant


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("max\n", None),
        ("50000\n", 0.5),
        ("150000 100000\n", 1.5),
        ("7000 2000\n", 3.5),
    ],
)
def test_cpu_max_is_a_quota_of_a_period_in_one_field_or_two(text: str, cores: float | None) -> None:
    assert cgroup_v2.parse_cpu_max(text) == cores


def test_the_root_group_of_v2_has_no_limit_and_uses_what_the_machine_uses(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == UNLIMITED


def test_memory_high_counts_where_it_is_lower_than_memory_max(plant: Plant) -> None:
    limits = v2_limits(
        cpu="150000 100000", memory=str(2 * GIB), high=str(GIB), used=300 * MIB, inactive=100 * MIB
    )
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == LIMITED


def test_kills_hits_and_pressure_of_v2_are_those_of_the_group_whose_limit_binds(plant: Plant) -> None:
    pod = limits_of_the_usual_container() | {
        "memory_events": "low 0\nhigh 4\nmax 7\noom 3\noom_kill 2\n",
        "memory_pressure": "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=1.00\n",
    }
    tree = plant(
        machine("0::/pod/worker\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", **pod)
        | v2_group("sys/fs/cgroup/pod/worker", memory_events="max 0\noom_kill 0\n", memory_max="max\n")
    )
    expected = replace(LIMITED, oom_kills=2, memory_failcnt=7, memory_pressure=0.125)
    assert read_cgroup(root=tree) == expected
