"""The files of one v1 control group: quotas, limits, use, and what happened at the limits.

What belongs here: the names and texts of v1's files. What may never enter: where the group is, and which of
several limits counts. :mod:`.cgroup_v2` has the same functions. Standard library only, Python 3.9.

Source: the kernel's Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files import parse_count, parse_stat, positive, read_if_there, read_value, shown, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Keys of ``memory.stat`` for file pages, of the group and those below it.
ACTIVE_FILE, INACTIVE_FILE = "total_active_file", "total_inactive_file"


def parse_cfs_quota(quota: str, period: str) -> float | None:
    """The quota of a group in cores, or None where it sets none (a quota of 0 or less).

    Args:
        quota: ``cpu.cfs_quota_us``, microseconds, -1 for none.
        period: ``cpu.cfs_period_us``, microseconds.

    Raises:
        ValueError: for anything that is no whole number, and for a period of 0.
    """
    try:
        unsigned = whole(quota.strip().removeprefix("-"))
        if unsigned == 0 or quota.strip().startswith("-"):
            return None
        return unsigned / positive(period)
    except ValueError:
        raise ValueError(
            f"{shown(quota)} of {shown(period)} is no quota;"
            " legal is -1 or microseconds, and a period above 0"
        ) from None


def read_quota(level: str) -> float | None:
    """The CPU quota of a group in cores, None where it has none."""
    quota = read_if_there(level, "cpu.cfs_quota_us", str)
    if quota is None:
        return None
    return read_value(f"{level}/cpu.cfs_period_us", lambda period: parse_cfs_quota(quota, period))


def read_cpu_usage(level: str) -> float:
    """CPU seconds that a group of the cpuacct controller has used."""
    return read_value(f"{level}/cpuacct.usage", parse_count) / 1e9


def read_throttled(level: str) -> float | None:
    """Seconds for which a group's quota held its processes back, None where nothing counts them."""
    count = read_if_there(level, "cpu.stat", lambda text: parse_stat(text, "throttled_time"))
    return None if count is None else count / 1e9


def read_memory_limit(level: str) -> int | None:
    """The limit of a group in bytes; none is a number that no machine reaches (9223372036854771712)."""
    return read_if_there(level, "memory.limit_in_bytes", parse_count)


def read_limit_above(level: str) -> int | None:
    """The lowest limit of a group and all above it, those above the mount point included."""
    return read_if_there(level, "memory.stat", lambda text: parse_stat(text, "hierarchical_memory_limit"))


def read_memory_current(level: str) -> int:
    """Bytes charged to a group and those below it, file pages included."""
    return read_value(f"{level}/memory.usage_in_bytes", parse_count)


def read_oom_kills(levels: Sequence[str]) -> int | None:
    """Processes of any of ``levels`` that the OOM killer ended; None where the kernel does not count them.

    v1 counts a kill in the victim's own group alone, so kills in siblings of the first level are not seen.
    """
    counts = [
        read_if_there(level, "memory.oom_control", lambda text: parse_stat(text, "oom_kill"))
        for level in levels
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def read_failcnt(level: str) -> int | None:
    """How often a group was about to exceed its limit."""
    return read_if_there(level, "memory.failcnt", parse_count)


def read_pressure(level: str) -> float | None:  # noqa: ARG001 - v2 has it
    """Pressure of one group is not known in v1: None."""
    return None
