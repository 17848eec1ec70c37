"""The CPUs of the machine, from the texts of the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker import machine as this_machine
from autoscaler.worker.cgroup import read_cgroup
from tests.support.cgroup_trees import (
    LIMITED,
    UNLIMITED,
    limits_of_the_usual_container,
    machine,
    v2_group,
    v2_mount,
    write_tree,
)

if TYPE_CHECKING:
    from tests.support.cgroup_trees import Plant


def test_a_list_of_cpus_has_ranges_and_single_ones() -> None:
    assert this_machine.parse_cpu_list("0-2,5,7-8\n") == {0, 1, 2, 5, 7, 8}


@pytest.mark.parametrize("text", ["", "1-", "-1", "3-1", "a", "1,,2", "0-99999999999", "٣"])
def test_a_list_of_cpus_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of CPUs"):
        this_machine.parse_cpu_list(text)


def test_an_affinity_narrower_than_the_quota_is_the_limit(plant: Plant) -> None:
    tree = plant(
        machine("0::/\n", v2_mount(), allowed="2")
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
    )
    assert read_cgroup(root=tree) == replace(LIMITED, cpu_limit_cores=1.0)


def test_cpus_that_are_not_online_are_none(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount(), allowed="6-127") | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == replace(UNLIMITED, cpu_limit_cores=2.0, cpu_limited=True)


def test_lxcfs_renumbers_the_cpus_and_only_their_count_is_used(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount(), allowed="12-19") | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == UNLIMITED


def test_without_sysfs_the_cpus_come_from_cpuinfo(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    (tree / "sys/devices/system/cpu/online").unlink()
    write_tree(tree, {"proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: x\n\n" for n in range(8))})
    assert read_cgroup(root=tree) == UNLIMITED
