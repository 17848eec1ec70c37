"""Captured cgroup trees in the making: files of a machine, of v1 and of v2 groups, by their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from hypothesis import strategies as st

from autoscaler.worker.cgroup import CgroupReading

#: Writes the files of a tree, by their paths, and gives its root.
Plant: TypeAlias = Callable[[Mapping[str, str]], Path]

MIB = 2**20
GIB = 2**30

#: Nothing could be read.
UNKNOWN = CgroupReading()

#: The machine of ``machine()`` with nothing in its way.
UNLIMITED = CgroupReading(
    cpu_limit_cores=8.0,
    cpu_limited=False,
    cpu_usage_seconds=1.0,
    throttled_seconds=None,
    memory_limit_bytes=8 * GIB,
    memory_limited=False,
    memory_used_bytes=2 * GIB,
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
    active_file_bytes=0,
    inactive_file_bytes=100 * MIB,
)

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

#: What v1 shows where there is no limit, with pages of 4 KiB.
V1_UNLIMITED = "9223372036854771712\n"


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


def machine(groups: str, mounts: str, *, process: str = "self", allowed: str = "0-7") -> dict[str, str]:
    """Eight CPUs and 8 GiB, of which 2 GiB are used, with a process in the groups given."""
    return {
        "sys/devices/system/cpu/online": "0-7\n",
        "proc/meminfo": "MemTotal:        8388608 kB\nMemFree:  10 kB\nMemAvailable:    6291456 kB\n",
        "proc/self/mountinfo": "22 1 0:20 / / rw,relatime - overlay overlay rw\n" + mounts,
        f"proc/{process}/cgroup": groups,
        f"proc/{process}/status": f"Name:\tcelery\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n",
    }


def v2_mount(root: str = "/", point: str = "/sys/fs/cgroup") -> str:
    return f"31 22 0:28 {root} {point} ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n"


def v1_mount(controllers: str, root: str = "/", point: str | None = None) -> str:
    point = point or f"/sys/fs/cgroup/{controllers}"
    return f"33 31 0:30 {root} {point} rw,relatime shared:9 master:3 - cgroup cgroup rw,{controllers}\n"


def v2_group(folder: str, **files: str) -> dict[str, str]:
    """A v2 group with the files that each group has, and those given (``cpu_max`` is ``cpu.max``)."""
    own = {"cgroup.procs": "", "cpu.stat": "usage_usec 1000000\nuser_usec 1\n"}
    own |= {name.replace("_", ".", 1): text for name, text in files.items()}
    return {f"{folder}/{name}": text for name, text in own.items()}


def v2_limits(
    *, cpu: str, memory: str, high: str = "max", used: int = 0, inactive: int = 0, active: int = 0
) -> dict[str, str]:
    return {
        "cpu_max": f"{cpu}\n",
        "cpu_stat": "usage_usec 2500000\nuser_usec 1\nnr_periods 9\nnr_throttled 3\nthrottled_usec 750000\n",
        "memory_max": f"{memory}\n",
        "memory_high": f"{high}\n",
        "memory_current": f"{used}\n",
        "memory_stat": (f"anon 1\nfile 2\ninactive_anon 5\ninactive_file {inactive}\nactive_file {active}\n"),
    }


def v1_cpu(folder: str, quota: str, *, usage: int = 2_500_000_000, throttled: int = 0) -> dict[str, str]:
    return {
        f"{folder}/cgroup.procs": "",
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
        f"{folder}/cpu.stat": f"nr_periods 4\nnr_throttled 2\nthrottled_time {throttled}\n",
        f"{folder}/cpuacct.usage": f"{usage}\n",
    }


def v1_memory(
    folder: str,
    limit: str = V1_UNLIMITED,
    *,
    tree_limit: str = V1_UNLIMITED,
    used: int = 0,
    inactive: int = 0,
    active: int = 0,
) -> dict[str, str]:
    return {
        f"{folder}/cgroup.procs": "",
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": (
            f"cache 0\ninactive_file 7\nhierarchical_memory_limit {tree_limit.strip()}\n"
            f"total_inactive_file {inactive}\ntotal_active_file {active}\n"
        ),
    }


def limits_of_the_usual_container() -> dict[str, str]:
    return v2_limits(cpu="150000 100000", memory=str(GIB), used=300 * MIB, inactive=100 * MIB)
