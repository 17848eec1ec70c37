"""The cgroup sensor on captured trees (v1, v2, hybrid), on real v1 groups, and under drawn input."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.worker.cgroup import CgroupReading, keep_known, read_cgroup, read_members
from tests.support.cgroup_trees import (
    GIB,
    KERNEL_LIKE,
    LIMITED,
    MIB,
    UNKNOWN,
    UNLIMITED,
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

if TYPE_CHECKING:
    from tests.support.cgroup_trees import Plant


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


def test_limits_beyond_the_machine_limit_nothing(plant: Plant) -> None:
    limits = v2_limits(cpu="1600000 100000", memory=str(64 * GIB), used=GIB)
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == replace(UNLIMITED, cpu_usage_seconds=2.5, throttled_seconds=0.75)


def test_more_droppable_pages_than_use_make_a_use_of_zero(plant: Plant) -> None:
    limits = v2_limits(cpu="150000", memory=str(GIB), used=5 * MIB, inactive=6 * MIB)
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    assert read_cgroup(root=tree) == replace(LIMITED, memory_used_bytes=0, inactive_file_bytes=6 * MIB)


def test_file_pages_in_use_are_not_counted_as_used(plant: Plant) -> None:
    limits = v2_limits(cpu="max", memory=str(GIB), used=900 * MIB, inactive=100 * MIB, active=600 * MIB)
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits))
    reading = read_cgroup(root=tree)
    kept = (reading.memory_used_bytes, reading.active_file_bytes, reading.inactive_file_bytes)
    assert kept == (200 * MIB, 600 * MIB, 100 * MIB)


def test_pressure_of_the_machine_counts_where_no_group_limits(plant: Plant) -> None:
    pressure = {"proc/pressure/memory": "some avg10=3.00 avg60=0.00 avg300=0.00 total=1\n"}
    tree = plant(machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup") | pressure)
    assert read_cgroup(root=tree) == replace(UNLIMITED, memory_pressure=0.03)


def test_counters_that_make_no_sense_are_unknown_and_no_fault(plant: Plant) -> None:
    odd = {"memory_events": "max -1\noom_kill x\n", "memory_pressure": "some avg10=900.00\n"}
    tree = plant(
        machine("0::/\n", v2_mount()) | v2_group("sys/fs/cgroup", **limits_of_the_usual_container(), **odd)
    )
    assert read_cgroup(root=tree) == LIMITED


def test_processes_under_one_limit_share_an_identity_and_others_do_not(plant: Plant) -> None:
    limits, boot = limits_of_the_usual_container(), {"proc/sys/kernel/random/boot_id": "1f-2e\n"}
    tree = plant(
        boot
        | machine("0::/pod/a\n", v2_mount())
        | {"proc/7/cgroup": "0::/pod/b\n", "proc/8/cgroup": "0::/other\n", "proc/9/cgroup": "0::/\n"}
        | v2_group("sys/fs/cgroup")
        | v2_group("sys/fs/cgroup/pod", **limits)
        | v2_group("sys/fs/cgroup/pod/a")
        | v2_group("sys/fs/cgroup/pod/b")
        | v2_group("sys/fs/cgroup/other", **limits)
    )
    own, sibling, other, outside = (read_cgroup(pid, root=tree).container_id for pid in (None, 7, 8, 9))
    assert own is not None
    assert own == sibling
    assert len({own, other, outside}) == 3


def test_members_are_the_processes_of_the_binding_group_and_below(plant: Plant) -> None:
    tree = plant(
        machine("0::/pod/worker\n", v2_mount())
        | v2_group("sys/fs/cgroup")
        | {"sys/fs/cgroup/cgroup.procs": "1\n"}
        | v2_group("sys/fs/cgroup/pod", **limits_of_the_usual_container())
        | v2_group("sys/fs/cgroup/pod/worker")
        | {"sys/fs/cgroup/pod/cgroup.procs": "5\n0\n", "sys/fs/cgroup/pod/worker/cgroup.procs": "6\n7\n"}
    )
    assert read_members(root=tree) == {0, 5, 6, 7}


def test_cpu_time_of_another_group_than_the_one_whose_quota_binds_is_not_reported(plant: Plant) -> None:
    groups = "3:memory:/\n2:cpuacct:/\n1:cpu:/celery\n"
    tree = plant(
        machine(groups, v1_mount("cpu") + v1_mount("cpuacct") + v1_mount("memory"))
        | v1_cpu("sys/fs/cgroup/cpu", "-1")
        | v1_cpu("sys/fs/cgroup/cpu/celery", "150000", throttled=750_000_000)
        | {"sys/fs/cgroup/cpuacct/cpuacct.usage": "99000000000\n"}
        | v1_memory("sys/fs/cgroup/memory", f"{GIB}\n", used=300 * MIB, inactive=100 * MIB)
    )
    assert read_cgroup(root=tree) == replace(LIMITED, cpu_usage_seconds=None)


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


def test_every_fault_is_reported_and_the_rest_is_still_read(plant: Plant) -> None:
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
        UNKNOWN,
        cpu_limit_cores=1.5,
        cpu_limited=True,
        cpu_usage_seconds=3.0,
        memory_limit_bytes=GIB,
        memory_limited=True,
        faults=("why",),
    )


def test_known_limits_replace_the_last_known_values() -> None:
    assert keep_known(LIMITED, UNLIMITED) == UNLIMITED


def test_each_limit_is_kept_by_itself() -> None:
    now = replace(UNLIMITED, cpu_limit_cores=None)
    assert keep_known(LIMITED, now) == replace(UNLIMITED, cpu_limit_cores=1.5, cpu_limited=True)


def test_unknown_stays_unknown_where_nothing_was_known_before() -> None:
    assert keep_known(None, UNKNOWN) == UNKNOWN


@given(data=st.data())
def test_a_reading_never_raises_whatever_is_in_the_files(data: st.DataObject) -> None:
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


@given(levels=LEVELS)
def test_a_limit_is_the_lowest_of_all_levels_and_unknown_where_one_is_unreadable(
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
    assert replace(reading, faults=(), inactive_file_bytes=None) == CgroupReading(
        cpu_limit_cores=None if usec is None else usec / 100_000,
        cpu_limited=usec is not None and usec < 800_000,
        cpu_usage_seconds=1.0,
        memory_limit_bytes=size,
        memory_limited=size is not None and size < 8 * GIB,
        memory_used_bytes=used,
    )
    assert bool(reading.faults) == (usec is None or size is None)
