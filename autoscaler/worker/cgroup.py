"""What a process's control groups allow it and what is used of that: cgroup v1, v2 and hybrids.

The law of this module: the standard library alone and nothing of :mod:`autoscaler`, since Celery workers
load it; reads of files and nothing else; nothing found in a file makes :func:`read_cgroup` raise. Text
becomes values in the ``parse_`` functions, which do no I/O; the rest finds the files.

How it decides:

* A limit is the minimum over every level from the process's group up to the mount point, and the machine.
  One unreadable level makes the whole limit unknown: that level may have been the tightest, and the number
  of a looser one would raise the cap on something nobody could read. :func:`keep_known` then keeps the last
  known limit.
* Use is measured where the limit binds, because whoever shares that limit uses it up too: at the group with
  the lowest limit (the outermost, where several are equal, or where v1 tells of a lower one above the mount
  point), and for memory at the machine where no group limits. CPU time that no quota limits is that of the
  process's own group.
* Each controller is looked up by itself: a v1 line of ``/proc/<pid>/cgroup`` wins, else it is v2. A cgroup2
  mount proves nothing, since hybrid hosts have one without controllers.

Sources: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from io import FileIO
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

#: The period of a v2 quota that names none.
DEFAULT_PERIOD_USEC = 100_000

#: The kernel counts in 64 bits, and stops at 8192 CPUs on the largest architecture.
_MOST_DIGITS = len(str(2**64 - 1))
_MOST_CPUS = 65_536

_OCTAL_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")


class _Unreadable(Exception):  # noqa: N818 - not an error of the program: a fact, told in the reading's faults
    """Something that could not be read; the message is the fault, in one sentence."""

    @property
    def absent(self) -> bool:
        return isinstance(self.__cause__, FileNotFoundError)


@dataclass(frozen=True, slots=True, kw_only=True)
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
        memory_used_bytes: What is used of that limit, less file pages that can be dropped at once
            (``inactive_file``): by the group whose limit binds, by the machine where none does, and by the
            process's own group while the limit is unknown.
        faults: One sentence for each thing that could not be read.
    """

    cpu_limit_cores: float | None
    cpu_limited: bool
    cpu_usage_seconds: float | None
    throttled_seconds: float | None
    memory_limit_bytes: int | None
    memory_limited: bool
    memory_used_bytes: int | None
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupMount:
    """One mounted cgroup hierarchy, or a part of it.

    ``root`` is the group that stands at ``point``. ``controllers`` are those of a v1 hierarchy (with its
    other mount options), None for v2.
    """

    root: str
    point: str
    controllers: frozenset[str] | None


def parse_membership(text: str) -> dict[str, str]:
    """The group of each v1 controller by its name, and the v2 group by the empty name.

    Args:
        text: ``/proc/<pid>/cgroup``, for example ``4:cpu,cpuacct:/docker/abc`` and ``0::/init.scope``.

    Raises:
        ValueError: where there is no line, or one that is not ``number:controllers:/path``.
    """
    groups: dict[str, str] = {}
    for line in filter(None, text.split("\n")):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/") or (number == "0") != (not controllers):
            raise ValueError(f"the line {_shown(line)} is not 'number:controllers:/path'")
        groups.update(dict.fromkeys(controllers.split(","), path))
    if not groups:
        raise ValueError("it has no line 'number:controllers:/path'")
    return groups


def parse_mounts(text: str) -> tuple[CgroupMount, ...]:
    """The cgroup mounts among all mounts, in their order, octal escapes resolved.

    Args:
        text: ``/proc/<pid>/mountinfo``; proc(5) has its fields.

    Raises:
        ValueError: where the line of a cgroup mount lacks fields.
    """
    mounts = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        kind, _, source_and_options = after.partition(" ")
        if kind not in {"cgroup", "cgroup2"}:
            continue
        fields = before.split(" ")
        options = source_and_options.partition(" ")[2]
        if len(fields) < 6 or not options:  # noqa: PLR2004 - id, parent, device, root, point, options
            raise ValueError(f"the line {_shown(line)} lacks fields of a mount")
        mounts.append(
            CgroupMount(
                root=_unescaped(fields[3]),
                point=_unescaped(fields[4]),
                controllers=None if kind == "cgroup2" else frozenset(options.split(",")),
            )
        )
    return tuple(mounts)


def parse_cpu_max(text: str) -> float | None:
    """The quota of a v2 group in cores, or None where it sets none.

    Args:
        text: ``cpu.max``: ``max`` or microseconds, and the period in microseconds (100000 if missing).

    Raises:
        ValueError: for anything else, a period or quota of 0 included: that is unknown, not unlimited.
    """
    quota, _, period = text.strip().partition(" ")
    try:
        period_usec = _positive(period) if period else DEFAULT_PERIOD_USEC
        return None if quota == "max" else _positive(quota) / period_usec
    except ValueError:
        raise ValueError(
            f"{_shown(text)} is no quota; legal is 'max' or microseconds above 0, and a period above 0"
        ) from None


def parse_cfs_quota(quota: str, period: str) -> float | None:
    """The quota of a v1 group in cores, or None where it sets none (a quota of 0 or less).

    Args:
        quota: ``cpu.cfs_quota_us``, microseconds, -1 for none.
        period: ``cpu.cfs_period_us``, microseconds.

    Raises:
        ValueError: for anything that is no whole number, and for a period of 0.
    """
    try:
        unsigned = _whole(quota.strip().removeprefix("-"))
        if unsigned == 0 or quota.strip().startswith("-"):
            return None
        return unsigned / _positive(period)
    except ValueError:
        raise ValueError(
            f"{_shown(quota)} of {_shown(period)} is no quota;"
            " legal is -1 or microseconds, and a period above 0"
        ) from None


def parse_memory_limit(text: str) -> int | None:
    """The limit of a group in bytes, or None where it sets none.

    Args:
        text: ``memory.max`` or ``memory.high`` (v2: ``max`` is none), or ``memory.limit_in_bytes`` (v1: no
            limit is a number that no machine reaches, 9223372036854771712 with pages of 4 KiB).

    Raises:
        ValueError: for anything else.
    """
    return None if text.strip() == "max" else parse_count(text)


def parse_count(text: str) -> int:
    """A file with one whole number, such as ``memory.current``.

    Raises:
        ValueError: for anything but a whole number of 0 or more and at most 20 digits.
    """
    try:
        return _whole(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a whole number of 0 or more") from None


def parse_stat(text: str, key: str) -> int | None:
    """One value of a flat file such as ``memory.stat`` or ``cpu.stat``, or None where it has no such key.

    Raises:
        ValueError: where the value is not a whole number of 0 or more.
    """
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if name == key:
            try:
                return _whole(value)
            except ValueError:
                raise ValueError(f"{key} is {_shown(value)}; legal is a whole number of 0 or more") from None
    return None


def parse_meminfo(text: str, key: str) -> int:
    """One value of ``/proc/meminfo``, in bytes.

    Raises:
        ValueError: where the key is missing or its value is not a number of kB.
    """
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name == key:
            try:
                return _whole(value.removesuffix("kB")) * 1024
            except ValueError:
                raise ValueError(f"{key} is {_shown(value)}; legal is a number of kB") from None
    raise ValueError(f"it has no line {key}")


def parse_cpu_list(text: str) -> frozenset[int]:
    """The CPUs of a list such as ``0-3,8``.

    Raises:
        ValueError: for anything else, an empty list included: every process may run somewhere.
    """
    try:
        return frozenset().union(*map(_cpu_range, text.strip().split(",")))
    except ValueError:
        raise ValueError(f"{_shown(text)} is no list of CPUs such as '0-3,8'") from None


def parse_affinity(text: str) -> frozenset[int]:
    """The CPUs that a process may run on; the kernel keeps them within its cpuset.

    Args:
        text: ``/proc/<pid>/status``.

    Raises:
        ValueError: where ``Cpus_allowed_list`` is missing or is no list of CPUs.
    """
    for line in text.split("\n"):
        if line.startswith("Cpus_allowed_list:"):
            return parse_cpu_list(line.partition(":")[2])
    raise ValueError("it has no line Cpus_allowed_list")


def parse_cpuinfo(text: str) -> frozenset[int]:
    """The CPUs that ``/proc/cpuinfo`` tells of.

    Raises:
        ValueError: where it tells of none, or of one without a number.
    """
    pairs = (line.partition(":") for line in text.split("\n"))
    numbers = [value.strip() for name, _, value in pairs if name.strip() == "processor"]
    return parse_cpu_list(",".join(numbers))


def read_cgroup(pid: int | None = None, *, root: Path = Path("/")) -> CgroupReading:
    """Limits and use of a process, this one for None; whatever cannot be read is None and has a fault.

    Args:
        pid: The process, by its number in this PID namespace. Where its groups are not visible here (it has
            namespaces of its own), they are read through ``/proc/<pid>/root``, which takes the same user.
        root: The file system to read in; captured trees stand under another.
    """
    faults: list[str] = []
    process = _attempt(faults, _read_process, str(root).rstrip("/"), pid)
    cpu, memory = _Cpu(), _Memory()
    if process is not None:
        cpu, memory = _read_cpu(process, faults), _read_memory(process, faults)
    return CgroupReading(
        cpu_limit_cores=cpu.limit_cores,
        cpu_limited=cpu.limited,
        cpu_usage_seconds=cpu.usage_seconds,
        throttled_seconds=cpu.throttled_seconds,
        memory_limit_bytes=memory.limit_bytes,
        memory_limited=memory.limited,
        memory_used_bytes=memory.used_bytes,
        faults=tuple(dict.fromkeys(faults)),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    # Paths are strings here: with pathlib's joins and readers a reading took four times as long.
    root: str  # in front of each absolute path, so "" for the file system's own
    folder: str  # its folder in /proc
    own: bool
    groups: dict[str, str]  # see parse_membership
    mounts: tuple[CgroupMount, ...]  # those of the reading process


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hierarchy:
    """Where one controller's groups of a process stand: ``levels`` from its own up to the mount point."""

    unified: bool
    group: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cpu:
    limit_cores: float | None = None
    limited: bool = False
    usage_seconds: float | None = None
    throttled_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    limit_bytes: int | None = None
    limited: bool = False
    used_bytes: int | None = None


def _read_process(root: str, pid: int | None) -> _Process:
    folder = f"{root}/proc/{'self' if pid is None else pid}"
    return _Process(
        root=root,
        folder=folder,
        own=pid is None,
        groups=_value(f"{folder}/cgroup", parse_membership),
        mounts=_value(f"{root}/proc/self/mountinfo", parse_mounts),
    )


def _find(process: _Process, controller: str) -> _Hierarchy:
    unified = controller not in process.groups
    group = process.groups.get(controller, process.groups.get(""))
    if group is None:
        raise _Unreadable(f"{process.folder + '/cgroup'!r} names no group for {controller}")
    for top, below in _places(process, group, "" if unified else controller):
        if _is_there(top + below):
            levels = [top + below]
            while levels[-1] != top:
                levels.append(levels[-1].rpartition("/")[0])
            return _Hierarchy(unified=unified, group=group, levels=tuple(levels))
    raise _Unreadable(
        f"the group {_shown(group)} of {controller} is not to be seen in any cgroup mount;"
        " mount the whole /sys/fs/cgroup, or share the process's namespaces"
    )


def _places(process: _Process, group: str, controller: str) -> Iterator[tuple[str, str]]:
    """Where a group may stand: pairs of a mount point and the path below it, the best first."""
    # The kernel writes both the group and the roots as seen from the reader's cgroup namespace, whoever's
    # files they stand in, so they can be compared, "/.." in front or not.
    yield from _mapped(process.root, process.mounts, group, controller, bind_mounted=process.own)
    if not process.own:
        theirs = _value(f"{process.folder}/mountinfo", parse_mounts)
        yield from _mapped(f"{process.folder}/root", theirs, group, controller, bind_mounted=True)


def _mapped(
    root: str, mounts: tuple[CgroupMount, ...], group: str, controller: str, *, bind_mounted: bool
) -> Iterator[tuple[str, str]]:
    fitting = [
        mount
        for mount in mounts
        if (controller in mount.controllers if mount.controllers is not None else not controller)
    ]
    for mount in sorted(fitting, key=lambda mount: len(mount.root)):  # a shorter root shows more parents
        below = _below(group, mount.root)
        if below is not None:
            yield root + mount.point, below
    if group == "/" and bind_mounted:
        # A runtime that mounts the container's group and hides its path. A root with ".." lies outside of
        # this namespace, and so is not the container's.
        for mount in fitting:
            if mount.root != "/" and ".." not in mount.root.split("/"):
                yield root + mount.point, ""


def _below(group: str, mount_root: str) -> str | None:
    """The path of a group below a mount's root, "" or "/…", or None where it does not lie there."""
    prefix = mount_root.rstrip("/")
    below = group[len(prefix) :].rstrip("/")
    if not group.startswith(prefix) or below[:1] not in {"", "/"} or ".." in below.split("/"):
        return None
    return below


def _read_cpu(process: _Process, faults: list[str]) -> _Cpu:
    hierarchy = _attempt(faults, _find, process, "cpu")
    if hierarchy is None:
        return _Cpu()
    unknown: list[str] = []
    machine = _attempt(unknown, _read_machine_cpus, process.root)
    allowed = _attempt(unknown, _value, f"{process.folder}/status", parse_affinity)
    quotas = [
        (quota, level)
        for level in reversed(hierarchy.levels)
        if (quota := _attempt(unknown, _read_quota, hierarchy, level)) is not None
    ]
    faults += unknown
    limit, limited, binding = None, False, None
    if machine is not None and allowed is not None and not unknown:
        # LXCFS gives the machine's CPUs other numbers than the affinity has: then only the counts tell.
        usable = len(machine & allowed) or min(len(machine), len(allowed))
        limit, binding = min([(float(usable), None), *quotas], key=itemgetter(0))
        limited = limit < len(machine)
    return _Cpu(
        limit_cores=limit,
        limited=limited,
        usage_seconds=_attempt(faults, _read_cpu_usage, process, hierarchy, binding),
        throttled_seconds=_attempt(faults, _read_throttled, hierarchy),
    )


def _read_machine_cpus(root: str) -> frozenset[int]:
    try:
        return _value(f"{root}/sys/devices/system/cpu/online", parse_cpu_list)
    except _Unreadable as unreadable:
        if not unreadable.absent:
            raise
    return _value(f"{root}/proc/cpuinfo", parse_cpuinfo)


def _read_quota(hierarchy: _Hierarchy, level: str) -> float | None:
    if hierarchy.unified:
        return _value_if_there(level, "cpu.max", parse_cpu_max)
    quota = _value_if_there(level, "cpu.cfs_quota_us", str)
    if quota is None:
        return None
    return _value(f"{level}/cpu.cfs_period_us", lambda period: parse_cfs_quota(quota, period))


def _read_cpu_usage(process: _Process, cpu: _Hierarchy, binding: str | None) -> float | None:
    hierarchy = cpu if cpu.unified else _find(process, "cpuacct")
    level = hierarchy.levels[0]
    if binding is not None:
        if (hierarchy.group, len(hierarchy.levels)) != (cpu.group, len(cpu.levels)):
            return None  # v1 without its usual joint mount: this counts the time of other processes
        level = hierarchy.levels[cpu.levels.index(binding)]
    if hierarchy.unified:
        return _read_stat(f"{level}/cpu.stat", "usage_usec") / 1e6
    return _value(f"{level}/cpuacct.usage", parse_count) / 1e9


def _read_throttled(hierarchy: _Hierarchy) -> float | None:
    key, per_second = ("throttled_usec", 1e6) if hierarchy.unified else ("throttled_time", 1e9)
    counts = [
        _value_if_there(level, "cpu.stat", lambda text: parse_stat(text, key)) for level in hierarchy.levels
    ]
    known = [count for count in counts if count is not None]
    return sum(known) / per_second if known else None


def _read_memory(process: _Process, faults: list[str]) -> _Memory:
    hierarchy = _attempt(faults, _find, process, "memory")
    if hierarchy is None:
        return _Memory()
    unknown: list[str] = []
    physical = _attempt(unknown, _read_meminfo, process.root, "MemTotal")
    limits = [
        (limit, level)
        for level in reversed(hierarchy.levels)
        if (limit := _attempt(unknown, _read_memory_limit, hierarchy, level)) is not None
    ]
    above = _attempt(unknown, _read_hierarchical_limit, hierarchy)
    faults += unknown
    if physical is None or unknown:
        return _Memory(used_bytes=_attempt(faults, _read_memory_used, hierarchy, hierarchy.levels[0]))
    if above is not None:
        limits.append((above, hierarchy.levels[-1]))
    limit, binding = min([(physical, None), *limits], key=itemgetter(0))
    if binding is None:
        available = _attempt(faults, _read_meminfo, process.root, "MemAvailable")
        used = None if available is None else max(0, physical - available)
    else:
        used = _attempt(faults, _read_memory_used, hierarchy, binding)
    return _Memory(limit_bytes=limit, limited=binding is not None, used_bytes=used)


def _read_meminfo(root: str, key: str) -> int:
    return _value(f"{root}/proc/meminfo", lambda text: parse_meminfo(text, key))


def _read_memory_limit(hierarchy: _Hierarchy, level: str) -> int | None:
    names = ("memory.max", "memory.high") if hierarchy.unified else ("memory.limit_in_bytes",)
    limits = [_value_if_there(level, name, parse_memory_limit) for name in names]
    return min((limit for limit in limits if limit is not None), default=None)


def _read_hierarchical_limit(hierarchy: _Hierarchy) -> int | None:
    """What v1 says of the limits above a group, those above the mount point included."""
    if hierarchy.unified:
        return None
    own = hierarchy.levels[0]
    return _value_if_there(own, "memory.stat", lambda text: parse_stat(text, "hierarchical_memory_limit"))


def _read_memory_used(hierarchy: _Hierarchy, level: str) -> int:
    current, inactive = (
        ("memory.current", "inactive_file")
        if hierarchy.unified
        else ("memory.usage_in_bytes", "total_inactive_file")
    )
    used = _value(f"{level}/{current}", parse_count)
    droppable = _read_stat(f"{level}/memory.stat", inactive)
    return max(0, used - droppable)  # the two are not read at one moment


def _read_stat(path: str, key: str) -> int:
    value = _value(path, lambda text: parse_stat(text, key))
    if value is None:
        raise _Unreadable(f"{path!r}: it has no line {key}")
    return value


def _attempt(faults: list[str], read: Callable[..., _T], *arguments: object) -> _T | None:
    try:
        return read(*arguments)
    except _Unreadable as unreadable:
        faults.append(str(unreadable))
        return None


def _value(path: str, parse: Callable[[str], _T]) -> _T:
    try:
        with FileIO(path) as file:
            text = os.fsdecode(file.readall())  # it may hold paths, of any bytes
    except OSError as error:
        raise _Unreadable(f"{path!r} cannot be read: {error.strerror}") from error
    try:
        return parse(text)
    except ValueError as error:
        raise _Unreadable(f"{path!r}: {error}") from error


def _value_if_there(level: str, name: str, parse: Callable[[str], _T]) -> _T | None:
    """The value of a file that some groups lack: the root, and those that were not given the controller."""
    try:
        return _value(f"{level}/{name}", parse)
    except _Unreadable as unreadable:
        # Each group has cgroup.procs: where that is missing too, the group has ended or is masked.
        if unreadable.absent and _is_there(f"{level}/cgroup.procs"):
            return None
        raise


def _is_there(path: str) -> bool:
    try:
        return os.access(path, os.F_OK)
    except ValueError:  # a NUL in a path that was read
        return False


def _whole(text: str) -> int:
    # int() alone takes signs, underscores and digits of other scripts.
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise ValueError
    return int(digits)


def _positive(text: str) -> int:
    number = _whole(text)
    if number == 0:
        raise ValueError
    return number


def _cpu_range(text: str) -> range:
    first, dash, last = text.partition("-")
    low, high = _whole(first), _whole(last if dash else first)
    if not low <= high < _MOST_CPUS:
        raise ValueError
    return range(low, high + 1)


def _unescaped(field: str) -> str:
    return _OCTAL_ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), field)


def _shown(text: str) -> str:
    return repr(text.strip()[:60])
