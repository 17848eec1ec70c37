"""The cgroup sensor on captured trees (v1, v2, hybrid), on real v1 groups, and under drawn input."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.worker import cgroup
from autoscaler.worker.cgroup import CgroupMount, CgroupReading, keep_known, read_cgroup
from tests.support.cgroup_trees import (
    GIB,
    MIB,
    limits_of_the_usual_container,
    machine,
    v1_cpu,
    v1_memory,
    v1_mount,
    v2_group,
    v2_limits,
    v2_mount,
    write_tree,
)
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    Plant: TypeAlias = Callable[[Mapping[str, str]], Path]
    MakeGroup: TypeAlias = Callable[[str, str], Path]
    Start: TypeAlias = Callable[[str, list[Path]], subprocess.Popen[str]]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return lambda files: write_tree(tmp_path, files)


UNKNOWN = CgroupReading(
    cpu_limit_cores=None,
    cpu_limited=False,
    cpu_usage_seconds=None,
    throttled_seconds=None,
    memory_limit_bytes=None,
    memory_limited=False,
    memory_used_bytes=None,
    faults=(),
)

#: The machine of ``machine()`` with nothing in its way.
UNLIMITED = CgroupReading(
    cpu_limit_cores=8.0,
    cpu_limited=False,
    cpu_usage_seconds=1.0,
    throttled_seconds=None,
    memory_limit_bytes=8 * GIB,
    memory_limited=False,
    memory_used_bytes=2 * GIB,
    faults=(),
)

#: What ``v2_limits(cpu="150000 100000", memory=1 GiB, used=300 MiB, inactive=100 MiB)`` means.
LIMITED = CgroupReading(
    cpu_limit_cores=1.5,
    cpu_limited=True,
    cpu_usage_seconds=2.5,
    throttled_seconds=0.75,
    memory_limit_bytes=GIB,
    memory_limited=True,
    memory_used_bytes=200 * MIB,
    faults=(),
)


# v2


def test_a_docker_container_with_a_namespace_of_its_own_reads_its_mount_point(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits_of_the_usual_container()))
    assert read_cgroup(root=tree) == LIMITED


def test_a_kubernetes_pod_on_the_hosts_namespace_is_held_by_the_limits_of_its_pod(plant: Plant) -> None:
    pod = "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice"
    unlimited = v2_limits(cpu="max 100000", memory="max", used=60 * MIB)
    tree = plant(
        machine(f"0::{pod.removeprefix('sys/fs/cgroup')}/cri-containerd-abc.scope\n", v2_mount())
        | v2_group("sys/fs/cgroup", cgroup_controllers="cpu memory\n")
        | v2_group("sys/fs/cgroup/kubepods.slice", **v2_limits(cpu="700000 100000", memory=str(7 * GIB)))
        | v2_group(
            "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice", **v2_limits(cpu="max", memory="max")
        )
        | v2_group(pod, **limits_of_the_usual_container())
        | v2_group(f"{pod}/cri-containerd-abc.scope", **unlimited)
    )
    # Use is the pod's, whose limits these are; the four levels with a cpu.stat of a quota add up.
    assert read_cgroup(root=tree) == replace(LIMITED, throttled_seconds=4 * 0.75)


def test_a_systemd_service_is_held_by_its_own_limit_where_that_is_lower_than_its_slices(plant: Plant) -> None:
    own = limits_of_the_usual_container() | {"cpu_stat": "usage_usec 2500000\nthrottled_usec 750000\n"}
    tree = plant(
        machine("0::/work.slice/celery.service\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/work.slice", cpu_max="400000 100000\n", memory_max=f"{4 * GIB}\n")
        | v2_group("sys/fs/cgroup/work.slice/celery.service", **own)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_the_root_group_of_v2_has_no_limit_and_uses_what_the_machine_uses(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == UNLIMITED


def test_groups_that_were_not_given_the_controllers_have_no_limit(plant: Plant) -> None:
    tree = plant(
        machine("0::/user.slice/a.scope\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/user.slice")
        | v2_group("sys/fs/cgroup/user.slice/a.scope")
    )
    assert read_cgroup(root=tree) == UNLIMITED


def test_of_equal_limits_the_outermost_counts_since_the_others_use_is_in_its_own(plant: Plant) -> None:
    inner = v2_limits(cpu="150000 100000", memory=str(GIB), used=10 * MIB)
    inner["cpu_stat"] = "usage_usec 1\nthrottled_usec 0\n"
    tree = plant(
        machine("0::/pod/worker\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", **limits_of_the_usual_container())
        | v2_group("sys/fs/cgroup/pod/worker", **inner)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_memory_high_counts_where_it_is_lower_than_memory_max(plant: Plant) -> None:
    limits = v2_limits(
        cpu="150000 100000", memory=str(2 * GIB), high=str(GIB), used=300 * MIB, inactive=100 * MIB
    )
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == LIMITED


def test_limits_beyond_the_machine_limit_nothing(plant: Plant) -> None:
    limits = v2_limits(cpu="1600000 100000", memory=str(64 * GIB), used=GIB)
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == replace(UNLIMITED, cpu_usage_seconds=2.5, throttled_seconds=0.75)


def test_more_droppable_pages_than_use_make_a_use_of_zero(plant: Plant) -> None:
    limits = v2_limits(cpu="150000", memory=str(GIB), used=5 * MIB, inactive=6 * MIB)
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == replace(LIMITED, memory_used_bytes=0)


def test_an_affinity_narrower_than_the_quota_is_the_limit(plant: Plant) -> None:
    tree = plant(
        machine("0::/\n", v2_mount(), allowed="2")
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
    )
    assert read_cgroup(root=tree) == replace(LIMITED, cpu_limit_cores=1.0)


def test_cpus_that_are_not_online_are_none(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount(), allowed="6-127") | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == replace(UNLIMITED, cpu_limit_cores=2.0, cpu_limited=True)


def test_lxcfs_renumbers_the_cpus_and_only_their_count_tells(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount(), allowed="12-19") | v2_group("sys/fs/cgroup"))
    assert read_cgroup(root=tree) == UNLIMITED


def test_without_sysfs_the_cpus_come_from_cpuinfo(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    (tree / "sys/devices/system/cpu/online").unlink()
    write_tree(tree, {"proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: x\n\n" for n in range(8))})
    assert read_cgroup(root=tree) == UNLIMITED


def test_a_mount_point_with_a_space_and_a_group_with_a_backslash_are_found(plant: Plant) -> None:
    mount = v2_mount(root="/sys\\134tem", point="/mnt/control\\040groups")
    tree = plant(
        machine("0::/sys\\tem/celery\n", mount)
        | v2_group("mnt/control groups", cpu_max="max\n")
        | v2_group("mnt/control groups/celery", **limits_of_the_usual_container())
    )
    assert read_cgroup(root=tree) == LIMITED


# v1 and hybrid


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


def test_cpu_time_of_another_group_than_the_one_whose_quota_binds_is_not_told(plant: Plant) -> None:
    groups = "3:memory:/\n2:cpuacct:/\n1:cpu:/celery\n"
    tree = plant(
        machine(groups, v1_mount("cpu") + v1_mount("cpuacct") + v1_mount("memory"))
        | v1_cpu("sys/fs/cgroup/cpu", "-1")
        | v1_cpu("sys/fs/cgroup/cpu/celery", "150000", throttled=750_000_000)
        | {"sys/fs/cgroup/cpuacct/cpuacct.usage": "99000000000\n"}
        | v1_memory("sys/fs/cgroup/memory", f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
    )
    assert read_cgroup(root=tree) == replace(LIMITED, cpu_usage_seconds=None)


# Other processes and other namespaces


def test_another_process_of_this_namespace_is_read_by_its_own_group_and_affinity(plant: Plant) -> None:
    tree = plant(
        machine("0::/sidecar\n", v2_mount(), allowed="0")
        | machine("0::/worker\n", v2_mount(), process="42")
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/sidecar", cpu_max="10000 100000\n", memory_max="1000\n")
        | v2_group("sys/fs/cgroup/worker", **limits_of_the_usual_container())
    )
    assert read_cgroup(42, root=tree) == LIMITED


def test_a_process_of_another_namespace_is_read_through_its_own_root(plant: Plant) -> None:
    group = "0::/../cri-containerd-worker.scope\n"
    tree = plant(
        machine("0::/\n", v2_mount())
        | machine(group, v2_mount(), process="42")
        | v2_group("sys/fs/cgroup", cpu_max="10000 100000\n", memory_max="1000\n")
        | {"proc/42/mountinfo": v2_mount(root="/../cri-containerd-worker.scope")}
        | v2_group("proc/42/root/sys/fs/cgroup", **limits_of_the_usual_container())
    )
    assert read_cgroup(42, root=tree) == LIMITED


def test_a_group_that_is_not_to_be_seen_is_unknown_and_not_unlimited(plant: Plant) -> None:
    tree = plant(
        machine("0::/\n", v2_mount())
        | machine("0::/../other\n", v2_mount(), process="42")
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
        | {"proc/42/mountinfo": v2_mount()}
        | v2_group("proc/42/root/sys/fs/cgroup", **limits_of_the_usual_container())
        | v2_group("proc/42/root/sys/fs/other", **limits_of_the_usual_container())
        | v2_group("sys/fs/other", **limits_of_the_usual_container())
    )
    advice = "mount the whole /sys/fs/cgroup, or share the process's namespaces"
    assert read_cgroup(42, root=tree) == replace(
        UNKNOWN,
        faults=(
            f"the group '/../other' of cpu is not to be seen in any cgroup mount; {advice}",
            f"the group '/../other' of memory is not to be seen in any cgroup mount; {advice}",
        ),
    )


def test_a_process_whose_mounts_may_not_be_read_has_one_fault_for_it(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | machine("0::/../other\n", v2_mount(), process="42"))
    fault = f"'{tree}/proc/42/mountinfo' cannot be read: No such file or directory"
    assert read_cgroup(42, root=tree) == replace(UNKNOWN, faults=(fault,))


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


# What cannot be read


def test_a_process_that_is_gone_is_unknown(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    fault = f"'{tree}/proc/42/cgroup' cannot be read: No such file or directory"
    assert read_cgroup(42, root=tree) == replace(UNKNOWN, faults=(fault,))


@pytest.mark.parametrize(
    "text", ["garbage", "", "100000 0", "0 100000", "max 0", "-1 100000", "1 2 3", "1e5"]
)
def test_a_quota_that_cannot_be_read_makes_the_cpu_limit_unknown_whatever_the_parent_has(
    plant: Plant, text: str
) -> None:
    tree = plant(
        machine("0::/pod/worker\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", cpu_max="400000 100000\n")
        | v2_group("sys/fs/cgroup/pod/worker", **limits_of_the_usual_container())
        | {"sys/fs/cgroup/pod/worker/cpu.max": f"{text}\n"}
    )
    fault = (
        f"'{tree}/sys/fs/cgroup/pod/worker/cpu.max': {text!r} is no quota;"
        " legal is 'max' or microseconds above 0, and a period above 0"
    )
    assert read_cgroup(root=tree) == replace(
        LIMITED, cpu_limit_cores=None, cpu_limited=False, faults=(fault,)
    )


def test_a_fault_shows_only_the_start_of_a_long_value(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", memory_max="x" * 1000))
    fault = f"'{tree}/sys/fs/cgroup/memory.max': '{'x' * 60}' is not a whole number of 0 or more"
    assert fault in read_cgroup(root=tree).faults


def test_a_group_that_cannot_be_a_path_is_unknown(plant: Plant) -> None:
    tree = plant(machine("0::/a\0b\n", v2_mount()) | v2_group("sys/fs/cgroup"))
    assert replace(read_cgroup(root=tree), faults=()) == UNKNOWN


def test_a_memory_limit_that_cannot_be_read_makes_it_unknown_and_use_the_processs_own(plant: Plant) -> None:
    tree = plant(
        machine("0::/pod/worker\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", **v2_limits(cpu="max", memory="12 MB", used=7))
        | v2_group("sys/fs/cgroup/pod/worker", **limits_of_the_usual_container())
    )
    fault = f"'{tree}/sys/fs/cgroup/pod/memory.max': '12 MB' is not a whole number of 0 or more"
    assert read_cgroup(root=tree) == replace(
        LIMITED, throttled_seconds=1.5, memory_limit_bytes=None, memory_limited=False, faults=(fault,)
    )


def test_every_fault_is_told_and_the_rest_is_still_read(plant: Plant) -> None:
    tree = plant(
        machine("0::/\n", v2_mount(), allowed="all")
        | v2_group("sys/fs/cgroup", **limits_of_the_usual_container())
        | {
            "sys/devices/system/cpu/online": "x\n",
            "proc/meminfo": "MemTotal: much kB\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec -5\nthrottled_usec 750000\n",
            "sys/fs/cgroup/memory.stat": "anon 1\n",
        }
    )
    (tree / "sys/fs/cgroup/memory.high").unlink()
    (tree / "sys/fs/cgroup/memory.high").mkdir()
    assert read_cgroup(root=tree) == replace(
        UNKNOWN,
        throttled_seconds=0.75,
        faults=(
            f"'{tree}/sys/devices/system/cpu/online': 'x' is no list of CPUs such as '0-3,8'",
            f"'{tree}/proc/self/status': 'all' is no list of CPUs such as '0-3,8'",
            f"'{tree}/sys/fs/cgroup/cpu.stat': usage_usec is '-5'; legal is a whole number of 0 or more",
            f"'{tree}/proc/meminfo': MemTotal is 'much kB'; legal is a number of kB",
            f"'{tree}/sys/fs/cgroup/memory.high' cannot be read: Is a directory",
            f"'{tree}/sys/fs/cgroup/memory.stat': it has no line inactive_file",
        ),
    )


def test_a_folder_that_is_no_group_is_unknown_and_not_unlimited(plant: Plant) -> None:
    tree = plant(machine("0::/\n", v2_mount()) | {"sys/fs/cgroup/.masked": ""})
    reading = read_cgroup(root=tree)
    assert replace(reading, faults=()) == UNKNOWN
    assert f"'{tree}/sys/fs/cgroup/cpu.max' cannot be read: No such file or directory" in reading.faults


def test_a_process_in_no_group_of_a_controller_is_unknown(plant: Plant) -> None:
    tree = plant(machine("1:name=systemd:/\n", v1_mount("name=systemd")))
    assert read_cgroup(root=tree) == replace(
        UNKNOWN,
        faults=(
            f"'{tree}/proc/self/cgroup' names no group for cpu",
            f"'{tree}/proc/self/cgroup' names no group for memory",
        ),
    )


def test_unknown_limits_keep_the_last_known_values_and_use_does_not() -> None:
    now = replace(UNKNOWN, cpu_usage_seconds=3.0, faults=("why",))
    assert keep_known(LIMITED, now) == replace(
        LIMITED, cpu_usage_seconds=3.0, throttled_seconds=None, memory_used_bytes=None, faults=("why",)
    )


def test_known_limits_replace_the_last_known_values() -> None:
    assert keep_known(LIMITED, UNLIMITED) == UNLIMITED


def test_each_limit_is_kept_by_itself() -> None:
    now = replace(UNLIMITED, cpu_limit_cores=None)
    assert keep_known(LIMITED, now) == replace(UNLIMITED, cpu_limit_cores=1.5, cpu_limited=True)


def test_unknown_stays_unknown_where_nothing_was_known_before() -> None:
    assert keep_known(None, UNKNOWN) == UNKNOWN


# Parsers


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
    assert cgroup.parse_cpu_max(text) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", None), ("0\n", None), ("150000\n", 3.0)])
def test_a_v1_quota_of_zero_or_less_is_none(quota: str, cores: float | None) -> None:
    assert cgroup.parse_cfs_quota(quota, "50000\n") == cores


@pytest.mark.parametrize(
    ("quota", "period"), [("x", "100000"), ("", "1"), ("5", "0"), ("5", ""), ("--1", "1")]
)
def test_a_v1_quota_that_makes_no_sense_is_refused(quota: str, period: str) -> None:
    with pytest.raises(ValueError, match="is no quota; legal is -1 or microseconds, and a period above 0"):
        cgroup.parse_cfs_quota(quota, period)


def test_a_membership_names_each_controller_and_v2_by_the_empty_name() -> None:
    text = "12:cpu,cpuacct:/a:b\n3:cpuset:/\n1:name=systemd:/x\n0::/y\x0by\n"
    assert cgroup.parse_membership(text) == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "cpuset": "/",
        "name=systemd": "/x",
        "": "/y\x0by",
    }


@pytest.mark.parametrize("text", ["", "\n", "0::\n", "0:/\n", "x\n", "1::/\n", "0:cpu:/\n", "1:cpu:a\n"])
def test_a_membership_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number:controllers:/path"):
        cgroup.parse_membership(text)


def test_mounts_are_the_cgroup_lines_with_their_escapes_resolved() -> None:
    text = (
        "22 1 0:20 / / rw - overlay cgroup rw\n"
        "32 31 0:29 /do\\134c /sys/fs/cgroup/a\\040b rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    )
    assert cgroup.parse_mounts(text) == (
        CgroupMount(
            root="/do\\c", point="/sys/fs/cgroup/a b", controllers=frozenset({"rw", "cpu", "cpuacct"})
        ),
        CgroupMount(root="/", point="/sys/fs/cgroup/unified", controllers=None),
    )


def test_a_list_of_cpus_has_ranges_and_single_ones() -> None:
    assert cgroup.parse_cpu_list("0-2,5,7-8\n") == {0, 1, 2, 5, 7, 8}


@pytest.mark.parametrize("text", ["", "1-", "-1", "3-1", "a", "1,,2", "0-99999999999", "٣"])
def test_a_list_of_cpus_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of CPUs"):
        cgroup.parse_cpu_list(text)


@pytest.mark.parametrize("text", ["", "1_000", "+5", "-5", "1.5", "٣", "9" * 21, "ma"])
def test_a_count_is_plain_digits_within_the_kernels_range(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number of 0 or more"):
        cgroup.parse_count(text)


# Properties

PARSERS = {
    "membership": cgroup.parse_membership,
    "mounts": cgroup.parse_mounts,
    "cpu_max": cgroup.parse_cpu_max,
    "cfs_quota": lambda text: cgroup.parse_cfs_quota(text, text),
    "memory_limit": cgroup.parse_memory_limit,
    "count": cgroup.parse_count,
    "stat": lambda text: cgroup.parse_stat(text, "usage_usec"),
    "meminfo": lambda text: cgroup.parse_meminfo(text, "MemTotal"),
    "cpu_list": cgroup.parse_cpu_list,
    "affinity": cgroup.parse_affinity,
    "cpuinfo": cgroup.parse_cpuinfo,
}

#: Words that the kernel's files are made of, so that drawn text gets past the first field.
WORDS = st.sampled_from(
    (
        *("max", "0", "1", "100000", "-1", "9" * 19, "9" * 5000, "٣", " kB", "usage_usec ", "MemTotal:"),
        *("cpu", "cpu,cpuacct", "memory", "0::", ":", "/", "/..", "/a", "cgroup", "cgroup2", "rw", " - "),
        *(" ", "\n", "\t", "\0", ",", "-", "\\040", "\\000", "\udcff", "\u2028"),
        *("Cpus_allowed_list:", "processor\t: "),
    )
)
KERNEL_LIKE = st.lists(WORDS, max_size=14).map("".join)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@settings(deadline=None)  # the machine may be busy
@given(text=KERNEL_LIKE | st.text())
def test_a_parser_gives_a_value_or_a_value_error_whatever_the_text(
    parse: Callable[[str], object], text: str
) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


@settings(deadline=None)  # the machine may be busy
@given(data=st.data())
def test_a_reading_never_raises_whatever_stands_in_the_files(data: st.DataObject) -> None:
    files = (
        machine("2:cpu,cpuacct:/a\n0::/a\n", v2_mount() + v1_mount("cpu,cpuacct"), process="42")
        | machine("0::/a\n", v2_mount() + v1_mount("cpu,cpuacct"))
        | v2_group("sys/fs/cgroup/a", **limits_of_the_usual_container())
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct/a", "5000")
    )
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=4)):
        files[name] = data.draw(KERNEL_LIKE, label=name)
    with tempfile.TemporaryDirectory() as folder:
        root = write_tree(Path(folder), files)
        for reading in (read_cgroup(root=root), read_cgroup(42, root=root)):
            assert reading.cpu_limit_cores is None or 0 < reading.cpu_limit_cores <= 65_536
            assert reading.memory_used_bytes is None or reading.memory_used_bytes >= 0
            assert all("\n" not in fault for fault in reading.faults)


QUOTAS = st.integers(1_000, 10_000_000) | st.sampled_from(["max", None, "garbage"])
LIMITS = st.integers(0, 16 * GIB) | st.sampled_from(["max", None, "garbage"])
LEVELS = st.lists(st.tuples(QUOTAS, LIMITS, LIMITS), min_size=1, max_size=4)


def _least_or_unknown(values: list[int | str | None], most: int) -> int | None:
    return None if "garbage" in values else min([most, *(v for v in values if isinstance(v, int))])


@settings(deadline=None)  # the machine may be busy
@given(levels=LEVELS)
def test_a_limit_is_the_least_of_all_levels_and_unknown_where_one_is_unreadable(
    levels: list[tuple[int | str | None, int | str | None, int | str | None]],
) -> None:
    files = machine(
        "0::" + "".join(f"/g{n}" for n in range(1, len(levels))) + "/\n"[len(levels) > 1 :], v2_mount()
    )
    for depth, (quota, highest, high) in enumerate(levels):
        folder = "sys/fs/cgroup" + "".join(f"/g{n}" for n in range(1, depth + 1))
        drawn = {"cpu_max": quota, "memory_max": highest, "memory_high": high}
        limits = {name: f"{value}\n" for name, value in drawn.items() if value is not None}
        files |= v2_group(folder, memory_current="5\n", memory_stat="inactive_file 1\n", **limits)
    with tempfile.TemporaryDirectory() as folder:
        reading = read_cgroup(root=write_tree(Path(folder), files))
    usec = _least_or_unknown([quota for quota, _, _ in levels], 800_000)
    size = _least_or_unknown([limit for _, *limits in levels for limit in limits], 8 * GIB)
    used = 4 if size is None or size < 8 * GIB else 2 * GIB
    assert replace(reading, faults=()) == CgroupReading(
        cpu_limit_cores=None if usec is None else usec / 100_000,
        cpu_limited=usec is not None and usec < 800_000,
        cpu_usage_seconds=1.0,
        throttled_seconds=None,
        memory_limit_bytes=size,
        memory_limited=size is not None and size < 8 * GIB,
        memory_used_bytes=used,
        faults=(),
    )
    assert bool(reading.faults) == (usec is None or size is None)


# The law


def test_the_module_loads_nothing_beyond_the_standard_library() -> None:
    package = Path(cgroup.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import autoscaler.worker.cgroup;"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["__main__", "autoscaler", "autoscaler.worker", "autoscaler.worker.cgroup"]


# Real groups. They are made below this process's own, so that a limit is only ever added, and no process
# changes its memory group.

V1 = Path("/sys/fs/cgroup")
needs_v1 = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(os.access(V1 / name / "cgroup.procs", os.W_OK) for name in ("cpu", "cpuset")),
    reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup/cpu",
)


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.01)


def _remove(group: Path) -> None:
    def removed() -> bool:
        with contextlib.suppress(OSError):  # busy for a moment after its last process ended
            group.rmdir()
        return not group.exists()

    _await(removed, f"removal of {group}")


@pytest.fixture
def make_group() -> Iterator[MakeGroup]:
    """Makes a group of a controller below this process's own; all are removed at the end."""
    groups = cgroup.parse_membership(Path("/proc/self/cgroup").read_text())
    with contextlib.ExitStack() as undo:

        def make(controller: str, name: str) -> Path:
            group = V1 / controller / groups[controller].lstrip("/") / f"autoscaler-test-{os.getpid()}" / name
            for folder in (group.parent, group):
                if not folder.exists():
                    folder.mkdir()
                    undo.callback(_remove, folder)
            return group

        yield make


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a shell command in groups; it is ended with its children before the groups are removed."""
    with contextlib.ExitStack() as undo:

        def run(command: str, groups: list[Path]) -> subprocess.Popen[str]:
            enter = "".join(f"echo $$ > {group}/cgroup.procs && " for group in groups)
            process = subprocess.Popen(
                ["sh", "-c", f"{enter} exec {command}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            undo.enter_context(process)
            undo.callback(process.kill)
            return process

        yield run


READY = """-c 'print("ready", flush=True); input()'"""
BUSY = """-c 'print("ready", flush=True)
while True: pass'"""


@needs_v1
def test_a_real_process_is_held_by_the_quota_of_a_parent_and_shows_its_throttling(
    make_group: MakeGroup, start: Start
) -> None:
    groups = [make_group(controller, "worker") for controller in ("cpu", "cpuacct")]
    quota = groups[0].parent / "cpu.cfs_quota_us"
    quota.write_text("20000")
    process = start(f"{sys.executable} {BUSY}", groups)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    _await(lambda: (read_cgroup(process.pid).throttled_seconds or 0) > 0.1, "throttling")
    usage = int((groups[1].parent / "cpuacct.usage").read_text()) / 1e9
    first = read_cgroup(process.pid)
    assert (first.cpu_limit_cores, first.cpu_limited, first.faults) == (0.2, True, ())
    assert first.cpu_usage_seconds is not None
    assert usage <= first.cpu_usage_seconds < usage + 5

    quota.write_text("130000")  # resized in place
    (groups[0] / "cpu.cfs_quota_us").write_text("50000")
    assert read_cgroup(process.pid).cpu_limit_cores == 0.5

    process.kill()
    process.wait()
    gone = read_cgroup(process.pid)
    assert replace(gone, faults=()) == UNKNOWN
    assert keep_known(first, gone).cpu_limit_cores == 0.2


@needs_v1
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot be made fewer")
def test_the_affinity_of_a_real_process_speaks_for_its_cpuset(make_group: MakeGroup, start: Start) -> None:
    cpu = min(os.sched_getaffinity(0))
    group = make_group("cpuset", "worker")
    for folder in (group.parent, group):
        (folder / "cpuset.mems").write_text((folder.parent / "cpuset.mems").read_text())
        (folder / "cpuset.cpus").write_text((folder.parent / "cpuset.cpus").read_text())
    process = start(f"{sys.executable} {READY}", [group])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (group / "cpuset.cpus").write_text(str(cpu))
    reading = read_cgroup(process.pid)
    assert (reading.cpu_limit_cores, reading.cpu_limited, reading.faults) == (1.0, True, ())


@needs_v1
@needs("unshare")
def test_a_real_process_of_a_sibling_namespace_is_read_through_its_own_root(
    make_group: MakeGroup, start: Start
) -> None:
    sidecar, worker = make_group("cpu", "sidecar"), make_group("cpu", "worker")
    (sidecar / "cpu.cfs_quota_us").write_text("10000")
    (worker / "cpu.cfs_quota_us").write_text("70000")
    container = start(
        'unshare --cgroup --mount sh -c "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/cpu &&'
        ' mount -t cgroup -o cpu none /sys/fs/cgroup/cpu && echo ready && read line"',
        [worker],
    )
    assert container.stdout is not None
    assert container.stdout.readline() == "ready\n"
    code = (
        "from autoscaler.worker.cgroup import read_cgroup;"
        f"print(read_cgroup({container.pid}).cpu_limit_cores, read_cgroup().cpu_limit_cores)"
    )
    reader = start(f"unshare --cgroup {sys.executable} -c '{code}'", [sidecar])
    # Of its own group the reader sees only a mount from outside of its namespace: unknown, not unlimited.
    assert reader.communicate(timeout=30)[0] == "0.7 None\n"


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(V1 / "memory/cgroup.procs", os.W_OK),
    reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup/memory",
)
def test_a_real_child_group_shows_the_memory_limit_of_its_parent(plant: Plant) -> None:
    parent = V1 / "memory" / f"autoscaler-test-{os.getpid()}"
    tree = plant(
        machine(f"2:memory:/{parent.name}/worker\n1:cpu,cpuacct:/\n", "", process="42")
        | {"proc/self/mountinfo": v1_mount("memory") + v1_mount("cpu,cpuacct")}
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "-1")
    )
    (tree / "sys/fs/cgroup/memory").symlink_to(V1 / "memory")
    with contextlib.ExitStack() as undo:
        for group in (parent, parent / "worker"):
            group.mkdir()
            undo.callback(_remove, group)
        unlimited = read_cgroup(42, root=tree)
        (parent / "memory.limit_in_bytes").write_text(str(256 * MIB))
        limited = read_cgroup(42, root=tree)
        (parent / "worker/memory.limit_in_bytes").write_text(str(64 * MIB))
        tighter = read_cgroup(42, root=tree)
    free = replace(UNLIMITED, cpu_usage_seconds=2.5, throttled_seconds=0.0)
    assert unlimited == free
    assert replace(limited, memory_used_bytes=0) == replace(
        free, memory_limit_bytes=256 * MIB, memory_limited=True, memory_used_bytes=0
    )
    assert replace(tighter, memory_used_bytes=0) == replace(
        free, memory_limit_bytes=64 * MIB, memory_limited=True, memory_used_bytes=0
    )


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="reads this machine's own groups")
def test_this_process_is_read_without_a_fault() -> None:
    reading = read_cgroup()
    assert reading.faults == ()
    assert reading.cpu_limit_cores is not None
    assert 0 < reading.cpu_limit_cores <= len(os.sched_getaffinity(0))
    assert reading.memory_limit_bytes is not None
    assert 0 < (reading.memory_used_bytes or 0) < reading.memory_limit_bytes
