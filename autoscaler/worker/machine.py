"""What the machine itself has: its CPUs, its memory, and the CPUs that a process may run on.

What belongs here: ``/proc`` and ``/sys`` files of the whole machine. What may never enter: control groups.
Standard library only, Python 3.9.
"""

from __future__ import annotations

from .files import Unreadable, read_value, shown, whole

#: The kernel stops at 8192 CPUs on the largest architecture.
_MAX_CPUS = 65_536


def parse_meminfo(text: str, key: str) -> int:
    """One value of ``/proc/meminfo``, in bytes.

    Raises:
        ValueError: where the key is missing or its value is not a number of kB.
    """
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name == key:
            try:
                return whole(value.removesuffix("kB")) * 1024
            except ValueError:
                raise ValueError(f"{key} is {shown(value)}; legal is a number of kB") from None
    raise ValueError(f"it has no line {key}")


def parse_cpu_list(text: str) -> frozenset[int]:
    """The CPUs of a list such as ``0-3,8``.

    Raises:
        ValueError: for anything else, an empty list included: every process may run somewhere.
    """
    cpus: frozenset[int] = frozenset()
    try:
        return cpus.union(*map(_cpu_range, text.strip().split(",")))
    except ValueError:
        raise ValueError(f"{shown(text)} is no list of CPUs such as '0-3,8'") from None


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
    """The CPUs that ``/proc/cpuinfo`` lists.

    Raises:
        ValueError: where it lists none, or one without a number.
    """
    pairs = (line.partition(":") for line in text.split("\n"))
    numbers = [value.strip() for name, _, value in pairs if name.strip() == "processor"]
    return parse_cpu_list(",".join(numbers))


def read_cpus(root: str) -> frozenset[int]:
    """The machine's CPUs that are online.

    Raises:
        Unreadable: where neither ``/sys`` nor ``/proc/cpuinfo`` lists them.
    """
    try:
        return read_value(f"{root}/sys/devices/system/cpu/online", parse_cpu_list)
    except Unreadable as unreadable:
        if not unreadable.absent:
            raise
    return read_value(f"{root}/proc/cpuinfo", parse_cpuinfo)


def read_meminfo(root: str, key: str) -> int:
    """One value of ``/proc/meminfo``, in bytes.

    Raises:
        Unreadable: where it cannot be read.
    """
    return read_value(f"{root}/proc/meminfo", lambda text: parse_meminfo(text, key))


def _cpu_range(text: str) -> range:
    first, dash, last = text.partition("-")
    low, high = whole(first), whole(last if dash else first)
    if not low <= high < _MAX_CPUS:
        raise ValueError
    return range(low, high + 1)
