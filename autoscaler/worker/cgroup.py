"""What a process's control groups allow it and what is used of that: cgroup v1, v2 and hybrids.

What belongs here: which of several limits counts, and where use is measured. What may never enter: Celery,
any I/O but reads of files, and anything that makes :func:`read_cgroup` raise. Standard library only, Python
3.9. :mod:`.mounts` finds the groups; :mod:`.cgroup_v1` and :mod:`.cgroup_v2` read their files.

How it decides:

* A limit is the minimum over every level from the process's group up to the mount point, and the machine.
  One unreadable level makes the whole limit unknown: that level may have been the tightest, and the number
  of a looser one would raise the cap on something nobody could read. :func:`keep_known` then keeps the last
  known limit.
* Use is measured where the limit binds, because whoever shares that limit uses it up too: at the group with
  the lowest limit (the outermost, where several are equal, or where v1 shows a lower one above the mount
  point), and for memory at the machine where no group limits. CPU time that no quota limits is that of the
  process's own group.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import cgroup_v1, cgroup_v2, machine
from .files import Unreadable, attempt, parse_pressure, parse_stat, read_value
from .mounts import Hierarchy, ProcessFiles, find_hierarchy, read_process

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Groups below a limit whose processes are listed; more make the answer unknown.
_MAX_GROUPS = 200


@dataclass(frozen=True)
class CgroupReading:
    """Limits and use of one process's control groups at one moment.

    Attributes:
        cpu_limit_cores: Cores the process may use at once: the lowest of all quotas, its affinity (which
            the kernel keeps within its cpuset) and the machine's CPUs. None is unknown.
        cpu_limited: Whether that is less than the machine. False while the limit is unknown.
        cpu_usage_seconds: CPU time since the group was made, of the group whose quota binds, else of the
            process's own. It only grows while that stays the same group; a smaller value than the last
            says that it did not, and nothing about use.
        throttled_seconds: Time for which quotas held processes back, added up over the levels, and by the
            kernel over CPUs: two stopped CPUs make two seconds each second. None where nothing counts it.
        memory_limit_bytes: The lowest of all limits and the machine's memory. None is unknown.
        memory_limited: Whether that is less than the machine's. False while the limit is unknown.
        memory_used_bytes: What is used of that limit and cannot be reclaimed, so without file pages: by the
            group whose limit binds, by the machine where none does, and by the process's own group while
            the limit is unknown.
        active_file_bytes: File pages in that group that were used lately. Reclaimable, at a price.
        inactive_file_bytes: File pages in that group that can be dropped at once.
        oom_kills: Processes in that group that the OOM killer has ended. Only grows; None where not counted.
        memory_failcnt: How often that group was about to exceed its limit. Only grows; None where unknown.
        memory_pressure: Share of the last 10 s in which some process of that group, or of the machine where
            no group limits, waited for memory: 0 to 1. None where the kernel does not say.
        container_id: The same for all processes under one memory limit, and only for those, until the
            machine restarts; a digest. Where no group limits it stands for the machine.
        cpu_limit_id: The same for all processes under one CPU limit, as ``container_id`` is for memory; None
            where no group limits.
        faults: One sentence for each thing that could not be read.
    """

    cpu_limit_cores: float | None = None
    cpu_limited: bool = False
    cpu_usage_seconds: float | None = None
    throttled_seconds: float | None = None
    memory_limit_bytes: int | None = None
    memory_limited: bool = False
    memory_used_bytes: int | None = None
    active_file_bytes: int | None = None
    inactive_file_bytes: int | None = None
    oom_kills: int | None = None
    memory_failcnt: int | None = None
    memory_pressure: float | None = None
    container_id: str | None = None
    cpu_limit_id: str | None = None
    faults: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All but the faults, by name."""
        fields = asdict(self)
        del fields["faults"]
        return fields


def read_cgroup(pid: int | None = None, *, root: Path = Path("/")) -> CgroupReading:
    """Limits and use of a process, this one for None; whatever cannot be read is None and has a fault.

    Args:
        pid: The process, by its number in this PID namespace. Where its groups are not visible here (it has
            namespaces of its own), they are read through ``/proc/<pid>/root``, which takes the same user.
        root: The file system to read in; captured trees have another.
    """
    faults: list[str] = []
    process = attempt(faults, read_process, str(root).rstrip("/"), pid)
    if process is None:
        return CgroupReading(faults=tuple(faults))
    fields = {**_read_cpu(process, faults), **_read_memory(process, faults)}
    return CgroupReading(**fields, faults=tuple(dict.fromkeys(faults)))


def read_members(*, root: Path = Path("/")) -> frozenset[int] | None:
    """The processes under the memory limit of this one, by their numbers in this PID namespace.

    None where no group limits its memory, or where they cannot be listed. 0 stands for processes of other
    PID namespaces.
    """
    try:
        process = read_process(str(root).rstrip("/"), None)
        hierarchy = find_hierarchy(process, "memory")
        top = _find_memory_limit(process, hierarchy, []).binding
        if top is None:
            return None
        pids: set[int] = set()
        for number, (folder, _, names) in enumerate(os.walk(top)):
            if number >= _MAX_GROUPS:
                return None
            if "cgroup.procs" in names:
                pids.update(map(int, read_value(f"{folder}/cgroup.procs", str.split)))
    except (Unreadable, ValueError):
        return None
    return frozenset(pids)


def keep_known(previous: CgroupReading | None, now: CgroupReading) -> CgroupReading:
    """``now`` with each unknown limit replaced by the last known one; what is used is never carried over.

    So a cap stays where it was while its files cannot be read, and moves again with the first good reading.
    """
    if previous is None:
        return now
    if now.cpu_limit_cores is None:
        now = replace(now, cpu_limit_cores=previous.cpu_limit_cores, cpu_limited=previous.cpu_limited)
    if now.memory_limit_bytes is None:
        now = replace(
            now, memory_limit_bytes=previous.memory_limit_bytes, memory_limited=previous.memory_limited
        )
    return now


class _Version(Protocol):
    """What :mod:`.cgroup_v1` and :mod:`.cgroup_v2` both are."""

    ACTIVE_FILE: str
    INACTIVE_FILE: str

    def read_quota(self, level: str) -> float | None: ...
    def read_cpu_usage(self, level: str) -> float: ...
    def read_throttled(self, level: str) -> float | None: ...
    def read_memory_limit(self, level: str) -> int | None: ...
    def read_limit_above(self, level: str) -> int | None: ...
    def read_memory_current(self, level: str) -> int: ...
    def read_oom_kills(self, levels: Sequence[str]) -> int | None: ...
    def read_failcnt(self, level: str) -> int | None: ...
    def read_pressure(self, level: str) -> float | None: ...


def _version(hierarchy: Hierarchy) -> _Version:
    return cgroup_v2 if hierarchy.unified else cgroup_v1


# -- CPU


def _read_cpu(process: ProcessFiles, faults: list[str]) -> dict[str, Any]:
    hierarchy = attempt(faults, find_hierarchy, process, "cpu")
    if hierarchy is None:
        return {}
    version = _version(hierarchy)
    unknown: list[str] = []
    cpus = attempt(unknown, machine.read_cpus, process.root)
    allowed = attempt(unknown, read_value, f"{process.folder}/status", machine.parse_affinity)
    quotas = [
        (quota, level)
        for level in reversed(hierarchy.levels)
        if (quota := attempt(unknown, version.read_quota, level)) is not None
    ]
    faults += unknown
    limit: float | None = None
    limited, binding = False, None
    if cpus is not None and allowed is not None and not unknown:
        # LXCFS gives the machine's CPUs other numbers than the affinity has: only the counts can be compared.
        usable = len(cpus & allowed) or min(len(cpus), len(allowed))
        limit, binding = min([(float(usable), None), *quotas], key=itemgetter(0))
        limited = limit < len(cpus)
    return {
        "cpu_limit_cores": limit,
        "cpu_limited": limited,
        "cpu_limit_id": None if binding is None else _identity(process.root, binding),
        "cpu_usage_seconds": attempt(faults, _read_cpu_usage, process, hierarchy, binding),
        "throttled_seconds": attempt(faults, _read_throttled, hierarchy),
    }


def _read_cpu_usage(process: ProcessFiles, cpu: Hierarchy, binding: str | None) -> float | None:
    hierarchy = cpu if cpu.unified else find_hierarchy(process, "cpuacct")
    level = hierarchy.levels[0]
    if binding is not None:
        if (hierarchy.group, len(hierarchy.levels)) != (cpu.group, len(cpu.levels)):
            return None  # v1 without its usual joint mount: this counts the time of other processes
        level = hierarchy.levels[cpu.levels.index(binding)]
    return _version(hierarchy).read_cpu_usage(level)


def _read_throttled(hierarchy: Hierarchy) -> float | None:
    counts = map(_version(hierarchy).read_throttled, hierarchy.levels)
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


# -- memory


class MemoryGroup(NamedTuple):
    """The group whose memory limit binds this process; ``below`` are the groups from its own up to that."""

    limit_bytes: int
    folder: str
    below: tuple[str, ...]
    version: _Version

    def read_charged_bytes(self) -> int | None:
        """What is charged to it, file pages included; None where that cannot be read."""
        return attempt([], self.version.read_memory_current, self.folder)

    def read_held_bytes(self) -> int | None:
        """What of that cannot be reclaimed: without file pages."""
        return _read_group_memory(self.version, self.folder, []).get("memory_used_bytes")

    def read_oom_kills(self) -> int | None:
        """Processes in it that the OOM killer has ended; only grows."""
        return attempt([], self.version.read_oom_kills, self.below)


def find_memory_group(*, root: Path = Path("/")) -> MemoryGroup | None:
    """The group whose memory limit binds this process; None where none does, or where that is not known."""
    try:
        process = read_process(str(root).rstrip("/"), None)
        hierarchy = find_hierarchy(process, "memory")
    except Unreadable:
        return None
    limit, binding = _find_memory_limit(process, hierarchy, [])
    if limit is None or binding is None:
        return None
    below = hierarchy.levels[: hierarchy.levels.index(binding) + 1]
    return MemoryGroup(limit, binding, below, _version(hierarchy))


class _MemoryLimit(NamedTuple):
    """The limit that counts, and the folder of the group that sets it (None: the machine or unknown)."""

    limit_bytes: int | None
    binding: str | None


def _find_memory_limit(process: ProcessFiles, hierarchy: Hierarchy, faults: list[str]) -> _MemoryLimit:
    version = _version(hierarchy)
    unknown: list[str] = []
    physical = attempt(unknown, machine.read_meminfo, process.root, "MemTotal")
    limits = [
        (limit, level)
        for level in reversed(hierarchy.levels)
        if (limit := attempt(unknown, version.read_memory_limit, level)) is not None
    ]
    above = attempt(unknown, version.read_limit_above, hierarchy.levels[0])
    faults += unknown
    if physical is None or unknown:
        return _MemoryLimit(None, None)
    if above is not None:
        limits.append((above, hierarchy.levels[-1]))
    return _MemoryLimit(*min([(physical, None), *limits], key=itemgetter(0)))


def _read_memory(process: ProcessFiles, faults: list[str]) -> dict[str, Any]:
    hierarchy = attempt(faults, find_hierarchy, process, "memory")
    if hierarchy is None:
        return {}
    limit, binding = _find_memory_limit(process, hierarchy, faults)
    known = limit is not None
    fields: dict[str, Any] = {
        "memory_limit_bytes": limit,
        "memory_limited": known and binding is not None,
        "container_id": _identity(process.root, binding) if known else None,
    }
    if known and binding is None:
        return {**fields, **_read_machine_memory(process.root, faults)}
    level = binding or hierarchy.levels[0]
    version = _version(hierarchy)
    below = hierarchy.levels[: hierarchy.levels.index(level) + 1]
    quiet: list[str] = []  # counters of what happened: some kernels lack them, and that is no fault
    return {
        **fields,
        **_read_group_memory(version, level, faults),
        "oom_kills": attempt(quiet, version.read_oom_kills, below),
        "memory_failcnt": attempt(quiet, version.read_failcnt, level),
        "memory_pressure": attempt(quiet, version.read_pressure, level),
    }


def _read_machine_memory(root: str, faults: list[str]) -> dict[str, Any]:
    total = attempt(faults, machine.read_meminfo, root, "MemTotal")
    available = attempt(faults, machine.read_meminfo, root, "MemAvailable")
    return {
        "memory_used_bytes": None if total is None or available is None else max(0, total - available),
        "memory_pressure": attempt([], read_value, f"{root}/proc/pressure/memory", parse_pressure),
    }


def _read_group_memory(version: _Version, level: str, faults: list[str]) -> dict[str, Any]:
    current = attempt(faults, version.read_memory_current, level)
    stat = attempt(faults, read_value, f"{level}/memory.stat", str)
    if current is None or stat is None:
        return {}
    try:
        inactive = parse_stat(stat, version.INACTIVE_FILE)
        active = parse_stat(stat, version.ACTIVE_FILE)
    except ValueError as error:
        faults.append(f"{level + '/memory.stat'!r}: {error}")
        return {}
    if inactive is None:
        faults.append(f"{level + '/memory.stat'!r}: it has no line {version.INACTIVE_FILE}")
        return {}
    return {
        # The two files are not read at one moment.
        "memory_used_bytes": max(0, current - inactive - (active or 0)),
        "active_file_bytes": active,
        "inactive_file_bytes": inactive,
    }


def _identity(root: str, binding: str | None) -> str | None:
    # A container sees its own group as "/", so the path says nothing; the folder's inode is the group's id.
    try:
        boot = read_value(f"{root}/proc/sys/kernel/random/boot_id", str.strip)
        group = "machine" if binding is None else str(os.stat(binding).st_ino)  # noqa: PTH116 - see files
    except (Unreadable, OSError):
        return None
    return hashlib.sha256(f"{boot} {group}".encode()).hexdigest()[:16]
