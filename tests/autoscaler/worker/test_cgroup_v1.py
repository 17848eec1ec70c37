"""The files of a v1 group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker import cgroup_v1
from autoscaler.worker.cgroup import read_cgroup
from tests.support.cgroup_trees import (
    GIB,
    LIMITED,
    MIB,
    UNLIMITED,
    limits_of_the_usual_container,
    machine,
    v1_cpu,
    v1_memory,
    v1_mount,
    v2_group,
    v2_mount,
)

if TYPE_CHECKING:
    from tests.support.cgroup_trees import Plant


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", None), ("0\n", None), ("150000\n", 3.0)])
def test_a_v1_quota_of_zero_or_less_is_none(quota: str, cores: float | None) -> None:
    assert cgroup_v1.parse_cfs_quota(quota, "50000\n") == cores


@pytest.mark.parametrize(
    ("quota", "period"), [("x", "100000"), ("", "1"), ("5", "0"), ("5", ""), ("--1", "1")]
)
def test_a_v1_quota_that_makes_no_sense_is_refused(quota: str, period: str) -> None:
    with pytest.raises(ValueError, match="is no quota; legal is -1 or microseconds, and a period above 0"):
        cgroup_v1.parse_cfs_quota(quota, period)


def test_kills_of_v1_are_added_up_over_the_levels_below_the_limit(plant: Plant) -> None:
    groups = "3:memory:/work/celery\n1:cpu,cpuacct:/\n"
    work = "sys/fs/cgroup/memory/work"
    tree = plant(
        machine(groups, v1_mount("cpu,cpuacct") + v1_mount("memory"))
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "150000", throttled=750_000_000)
        | v1_memory("sys/fs/cgroup/memory")
        | v1_memory(work, f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
        | v1_memory(f"{work}/celery", tree_limit=f"{GIB}\n")
        | {f"{work}/memory.failcnt": "5\n", f"{work}/memory.oom_control": "under_oom 0\noom_kill 1\n"}
        | {f"{work}/celery/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}
    )
    assert read_cgroup(root=tree) == replace(LIMITED, oom_kills=3, memory_failcnt=5)


def test_a_docker_container_on_v1_with_joint_controllers_is_found_below_its_mounts_root(plant: Plant) -> None:
    groups = (
        "5:cpuset:/docker/abc\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
    )
    mounts = (
        v1_mount("cpuset", "/docker/abc")
        + v1_mount("cpu,cpuacct", "/docker/abc")
        + v1_mount("memory", "/docker/abc")
    )
    tree = plant(
        machine(groups, mounts)
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "150000", throttled=750_000_000)
        | v1_memory("sys/fs/cgroup/memory", f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_on_v1_a_parents_quota_and_limit_hold_a_child_that_shows_none(plant: Plant) -> None:
    groups = "3:memory:/work/celery\n2:cpuacct:/work/celery\n1:cpu:/work/celery\n"
    parts = {name: f"sys/fs/cgroup/{name}/work" for name in ("cpu", "cpuacct", "memory")}
    tree = plant(
        machine(groups, v1_mount("cpu") + v1_mount("cpuacct") + v1_mount("memory"))
        | v1_cpu("sys/fs/cgroup/cpu", "-1")
        | v1_cpu(parts["cpu"], "150000", throttled=750_000_000)
        | v1_cpu(f"{parts['cpu']}/celery", "-1")
        | {
            f"{parts['cpuacct']}/cpuacct.usage": "2500000000\n",
            f"{parts['cpuacct']}/celery/cpuacct.usage": "7\n",
        }
        | v1_memory("sys/fs/cgroup/memory", used=9)
        | v1_memory(parts["memory"], f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
        | v1_memory(f"{parts['memory']}/celery", tree_limit=f"{GIB}\n", used=5)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_on_v1_a_limit_above_the_mount_point_shows_in_the_hierarchical_limit(plant: Plant) -> None:
    groups = "3:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n"
    tree = plant(
        machine(groups, v1_mount("cpu,cpuacct", "/docker/abc") + v1_mount("memory", "/docker/abc"))
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "150000", throttled=750_000_000)
        | v1_memory(
            "sys/fs/cgroup/memory", f"{2 * GIB}\n", tree_limit=f"{GIB}\n", used=300 * MIB, inactive=100 * MIB
        )
    )
    assert read_cgroup(root=tree) == LIMITED


def test_on_v1_minus_one_and_the_largest_number_are_no_limits(plant: Plant) -> None:
    tree = plant(
        machine("3:memory:/\n1:cpu,cpuacct:/\n", v1_mount("cpu,cpuacct") + v1_mount("memory"))
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "-1")
        | v1_memory("sys/fs/cgroup/memory", used=GIB)
    )
    assert read_cgroup(root=tree) == replace(UNLIMITED, cpu_usage_seconds=2.5, throttled_seconds=0.0)


def test_on_a_hybrid_host_the_v1_groups_count_though_a_cgroup2_mount_is_there(plant: Plant) -> None:
    groups = "4:memory:/celery\n3:cpu,cpuacct:/celery\n1:name=systemd:/celery\n0::/celery\n"
    mounts = v2_mount(point="/sys/fs/cgroup/unified") + v1_mount("cpu,cpuacct") + v1_mount("memory")
    tree = plant(
        machine(groups, mounts)
        | v2_group("sys/fs/cgroup/unified/celery", cpu_stat="usage_usec 9\n")
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "-1")
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct/celery", "150000", throttled=750_000_000)
        | v1_memory("sys/fs/cgroup/memory")
        | v1_memory("sys/fs/cgroup/memory/celery", f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_each_controller_is_looked_up_by_itself(plant: Plant) -> None:
    # The CPU on v1, memory on v2; "cpuset" is not "cpu".
    groups = "3:cpuset:/elsewhere\n2:cpu,cpuacct:/celery\n0::/celery\n"
    mounts = v1_mount("cpuset") + v1_mount("cpu,cpuacct") + v2_mount(point="/sys/fs/cgroup/unified")
    limits = limits_of_the_usual_container() | {"cpu_max": "100 100000\n"}
    tree = plant(
        machine(groups, mounts)
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "-1")
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct/celery", "150000", throttled=750_000_000)
        | v2_group("sys/fs/cgroup/unified")
        | v2_group("sys/fs/cgroup/unified/celery", **limits)
    )
    assert read_cgroup(root=tree) == LIMITED
