"""The control groups of real processes; v1, since those can be made here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoscaler.worker import mounts
from autoscaler.worker.cgroup import keep_known, read_cgroup
from tests.support.cgroup_trees import GIB, MIB, UNKNOWN, machine, v1_cpu, v1_mount
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from tests.support.cgroup_trees import Plant

    MakeGroup: TypeAlias = Callable[[str, str], Path]
    Start: TypeAlias = Callable[[str, list[Path]], subprocess.Popen[str]]


# Real groups. They are made below this process's own, so that a limit is only ever added, and no process
# changes its memory group.

V1 = Path("/sys/fs/cgroup")
needs_v1 = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(os.access(V1 / name / "cgroup.procs", os.W_OK) for name in ("cpu", "cpuset")),
    reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup/cpu",
)
needs_v1_memory = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(V1 / "memory/cgroup.procs", os.W_OK),
    reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup/memory",
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
    groups = mounts.parse_membership(Path("/proc/self/cgroup").read_text())
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


@pytest.mark.host
@needs_v1
def test_a_real_process_is_held_by_the_quota_of_a_parent_and_shows_its_throttling(
    make_group: MakeGroup, start: Start
) -> None:
    groups = [make_group(controller, "worker") for controller in ("cpu", "cpuacct")]
    quota = groups[0].parent / "cpu.cfs_quota_us"
    process = start(f"{sys.executable} {BUSY}", groups)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    quota.write_text("2000")  # so little that it binds on the busiest machine, too
    _await(lambda: (read_cgroup(process.pid).throttled_seconds or 0) > 0.1, "throttling")
    usage = int((groups[1].parent / "cpuacct.usage").read_text()) / 1e9
    first = read_cgroup(process.pid)
    assert (first.cpu_limit_cores, first.cpu_limited, first.faults) == (0.02, True, ())
    assert first.cpu_usage_seconds is not None
    assert usage <= first.cpu_usage_seconds < usage + 5

    quota.write_text("130000")  # resized in place
    (groups[0] / "cpu.cfs_quota_us").write_text("50000")
    assert read_cgroup(process.pid).cpu_limit_cores == 0.5

    process.kill()
    process.wait()
    gone = read_cgroup(process.pid)
    assert replace(gone, faults=()) == UNKNOWN
    assert keep_known(first, gone).cpu_limit_cores == 0.02


@pytest.mark.host
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


@pytest.mark.host
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


def _in_memory_group(plant: Plant, group: str) -> Path:
    """A tree in which process 42 is in a memory group of this machine, and nothing limits its CPU."""
    tree = plant(
        machine(f"2:memory:{group}\n1:cpu,cpuacct:/\n", "", process="42")
        | {"proc/self/mountinfo": v1_mount("memory") + v1_mount("cpu,cpuacct")}
        | v1_cpu("sys/fs/cgroup/cpu,cpuacct", "-1")
    )
    (tree / "sys/fs/cgroup/memory").symlink_to(V1 / "memory")
    return tree


@pytest.mark.host
@needs_v1_memory
def test_a_real_child_group_shows_the_memory_limit_of_its_parent(plant: Plant) -> None:
    parent = V1 / "memory" / f"autoscaler-test-{os.getpid()}"
    tree = _in_memory_group(plant, f"/{parent.name}/worker")
    with contextlib.ExitStack() as undo:
        for group in (parent, parent / "worker"):
            group.mkdir()
            undo.callback(_remove, group)
        unlimited = read_cgroup(42, root=tree)
        (parent / "memory.limit_in_bytes").write_text(str(256 * MIB))
        limited = read_cgroup(42, root=tree)
        (parent / "worker/memory.limit_in_bytes").write_text(str(64 * MIB))
        tighter = read_cgroup(42, root=tree)
    kept = [
        (one.memory_limit_bytes, one.memory_limited, one.oom_kills, one.memory_failcnt, one.faults)
        for one in (unlimited, limited, tighter)
    ]
    assert kept == [
        (8 * GIB, False, None, None, ()),
        (256 * MIB, True, 0, 0, ()),
        (64 * MIB, True, 0, 0, ()),
    ]


@pytest.mark.host
@needs_v1_memory
def test_a_real_kill_by_the_kernel_and_the_hits_before_it_are_counted(plant: Plant) -> None:
    group = V1 / "memory" / f"autoscaler-oom-{os.getpid()}"
    tree = _in_memory_group(plant, f"/{group.name}")
    with contextlib.ExitStack() as undo:
        group.mkdir()
        undo.callback(_remove, group)
        (group / "memory.limit_in_bytes").write_text(str(32 * MIB))
        before = read_cgroup(42, root=tree)
        fill = f"{sys.executable} -c 'bytearray(b\"x\") * {200 * MIB}'"
        done = subprocess.run(["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec {fill}"], check=False)
        after = read_cgroup(42, root=tree)
    assert (before.oom_kills, before.memory_failcnt) == (0, 0)
    assert (done.returncode, after.oom_kills, after.faults) == (-9, 1, ())
    assert (after.memory_failcnt or 0) > 0


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="reads this machine's own groups")
def test_this_process_is_read_without_a_fault() -> None:
    reading = read_cgroup()
    assert reading.faults == ()
    assert reading.cpu_limit_cores is not None
    assert 0 < reading.cpu_limit_cores <= len(os.sched_getaffinity(0))
    assert reading.memory_limit_bytes is not None
    assert 0 < (reading.memory_used_bytes or 0) < reading.memory_limit_bytes
