"""The files of one v2 control group: quotas, limits, use, and what happened at the limits.

What belongs here: the names and texts of v2's files. What may never enter: where the group is, and which of
several limits counts. :mod:`.cgroup_v1` has the same functions. Standard library only, Python 3.9.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files import (
    parse_count,
    parse_pressure,
    parse_stat,
    positive,
    read_if_there,
    read_stat,
    read_value,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The period of a quota that names none.
DEFAULT_PERIOD_USEC = 100_000

#: Keys of ``memory.stat`` for file pages, of the group and those below it.
ACTIVE_FILE, INACTIVE_FILE = "active_file", "inactive_file"


def parse_cpu_max(text: str) -> float | None:
    """The quota of a group in cores, or None where it sets none.

    Args:
        text: ``cpu.max``: ``max`` or microseconds, and the period in microseconds (100000 if missing).

    Raises:
        ValueError: for anything else, a period or quota of 0 included: that is unknown, not unlimited.
    """
    quota, _, period = text.strip().partition(" ")
    try:
        period_usec = positive(period) if period else DEFAULT_PERIOD_USEC
        return None if quota == "max" else positive(quota) / period_usec
    except ValueError:
        raise ValueError(
            f"{shown(text)} is no quota; legal is 'max' or microseconds above 0, and a period above 0"
        ) from None


def parse_memory_limit(text: str) -> int | None:
    """The limit of a group in bytes, or None where it sets none.

    Args:
        text: ``memory.max`` or ``memory.high``, of which ``max`` is none.

    Raises:
        ValueError: for anything else.
    """
    return None if text.strip() == "max" else parse_count(text)


def read_quota(level: str) -> float | None:
    """The CPU quota of a group in cores, None where it has none."""
    return read_if_there(level, "cpu.max", parse_cpu_max)


def read_cpu_usage(level: str) -> float:
    """CPU seconds that a group has used."""
    return read_stat(f"{level}/cpu.stat", "usage_usec") / 1e6


def read_throttled(level: str) -> float | None:
    """Seconds for which a group's quota held its processes back, None where nothing counts them."""
    count = read_if_there(level, "cpu.stat", lambda text: parse_stat(text, "throttled_usec"))
    return None if count is None else count / 1e6


def read_memory_limit(level: str) -> int | None:
    """The lower of the hard and the soft limit of a group in bytes, None where it has neither."""
    limits = [read_if_there(level, name, parse_memory_limit) for name in ("memory.max", "memory.high")]
    return min((limit for limit in limits if limit is not None), default=None)


def read_limit_above(level: str) -> int | None:  # noqa: ARG001 - v1 has one
    """The limit of the groups above the mount point, which v2 does not show: None."""
    return None


def read_memory_current(level: str) -> int:
    """Bytes charged to a group, file pages included."""
    return read_value(f"{level}/memory.current", parse_count)


def read_oom_kills(levels: Sequence[str]) -> int | None:
    """Processes that the OOM killer ended in the last of ``levels``, those below it included."""
    return read_if_there(levels[-1], "memory.events", lambda text: parse_stat(text, "oom_kill"))


def read_failcnt(level: str) -> int | None:
    """How often a group was about to exceed its hard limit."""
    return read_if_there(level, "memory.events", lambda text: parse_stat(text, "max"))


def read_pressure(level: str) -> float | None:
    """The share of the last 10 s in which some process of a group waited for memory, 0 to 1."""
    return read_if_there(level, "memory.pressure", parse_pressure)
