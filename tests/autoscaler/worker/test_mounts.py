"""Where the groups of a process are mounted, from the texts of the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker import mounts
from autoscaler.worker.cgroup import read_cgroup
from tests.support.cgroup_trees import (
    LIMITED,
    UNKNOWN,
    limits_of_the_usual_container,
    machine,
    v2_group,
    v2_mount,
)

if TYPE_CHECKING:
    from tests.support.cgroup_trees import Plant


def test_a_membership_names_each_controller_and_v2_by_the_empty_name() -> None:
    text = "12:cpu,cpuacct:/a:b\n3:cpuset:/\n1:name=systemd:/x\n0::/y\x0by\n"
    assert mounts.parse_membership(text) == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "cpuset": "/",
        "name=systemd": "/x",
        "": "/y\x0by",
    }


@pytest.mark.parametrize("text", ["", "\n", "0::\n", "0:/\n", "x\n", "1::/\n", "0:cpu:/\n", "1:cpu:a\n"])
def test_a_membership_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number:controllers:/path"):
        mounts.parse_membership(text)


def test_mounts_are_the_cgroup_lines_with_their_escapes_resolved() -> None:
    text = (
        "22 1 0:20 / / rw - overlay cgroup rw\n"
        "32 31 0:29 /do\\134c /sys/fs/cgroup/a\\040b rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    )
    assert mounts.parse_mounts(text) == (
        mounts.CgroupMount(
            root="/do\\c", point="/sys/fs/cgroup/a b", controllers=frozenset({"rw", "cpu", "cpuacct"})
        ),
        mounts.CgroupMount(root="/", point="/sys/fs/cgroup/unified", controllers=None),
    )


def test_a_mount_point_with_a_space_and_a_group_with_a_backslash_are_found(plant: Plant) -> None:
    mount = v2_mount(root="/sys\\134tem", point="/mnt/control\\040groups")
    tree = plant(
        machine("0::/sys\\tem/celery\n", mount)
        | v2_group("mnt/control groups", cpu_max="max\n")
        | v2_group("mnt/control groups/celery", **limits_of_the_usual_container())
    )
    assert read_cgroup(root=tree) == LIMITED


def test_a_path_hidden_by_a_namespace_is_the_bind_mounted_group(plant: Plant) -> None:
    tree = plant(
        machine("0::/\n", v2_mount(root="/docker/abc"))
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
    )
    assert read_cgroup(root=tree) == LIMITED


def test_a_bind_mount_of_this_container_says_nothing_of_another_process(plant: Plant) -> None:
    tree = plant(
        machine("0::/docker/abc\n", v2_mount(root="/docker/abc"))
        | machine("0::/\n", v2_mount(root="/docker/abc"), process="42")
        | {"proc/42/mountinfo": ""}
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
    )
    known = read_cgroup(42, root=tree)
    assert replace(known, faults=()) == UNKNOWN


def test_a_mount_from_outside_of_the_namespace_is_not_the_processs_group(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount(root="/../..")) | v2_group("sys/fs/cgroup"))
    assert replace(read_cgroup(root=tree), faults=()) == UNKNOWN


def test_of_several_mounts_the_one_that_shows_the_parents_is_used(plant: Plant) -> None:
    mounts = v2_mount(root="/pod/worker", point="/run/bound") + v2_mount()
    tree = plant(
        machine("0::/pod/worker\n", mounts)
        | v2_group("run/bound", cpu_max="max\n")
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", **limits_of_the_usual_container())
        | v2_group("sys/fs/cgroup/pod/worker")
    )
    assert read_cgroup(root=tree) == LIMITED
