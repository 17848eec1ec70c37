"""The condition of a worker that is as large as it may be while work waits: what limits it, what to do.

Pure functions of one plan. A state names the limit and the size, and counts no tasks, so that it changes only
when a person should read it again. What is estimated is "about" a number: a log of conditions does not repeat
a state for one that is about the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from autoscaler.core.model import Decision, Override
    from autoscaler.core.plan import GroupPlan, Plan

KIND = "ceiling"
#: The target wait cannot be kept within the bounds.
OUT_OF_REACH = "target_out_of_reach"
#: The target wait is shorter than a look and the start of a process take.
TOO_SHORT = "target_too_short"
_IO = "--processes-per-core where tasks wait (I/O) more than they compute"
_MORE = "start another worker for {queues}"
#: By reason: what limits the pool, and what to do.
_LIMITS = {
    Reason.AT_MAX: ("{max}", f"raise it, or {_MORE}"),
    Reason.CPU_CEILING: ("the container's CPU limit", f"raise it, or {_IO}, or {_MORE}"),
    Reason.MEMORY_CEILING: ("the container's memory limit", f"raise it, or {_MORE}"),
    Reason.UNKNOWN_LIMIT: (
        "--max auto, since no limit of its container is known",
        "load the companion, or give --max, --cpu-limit or --limits-folder",
    ),
    Reason.MACHINE: ("what this machine has, as --max is auto", f"raise {_IO}, or {_MORE} elsewhere"),
}


def at_ceiling(plan: Plan, override: Override) -> dict[tuple[str, str], str]:
    """The workers that would be larger but for a limit, and whose tasks wait, by (kind, name)."""
    groups = {name: group for group in plan.groups for name in group.group.workers}
    return {
        (KIND, one.worker): _state(one, groups[one.worker], override)
        for one in plan.decisions
        if one.desired_reason in _LIMITS
        and one.current is not None
        and one.desired is not None
        and one.current >= one.desired
        and one.worker in groups
        and _waits(groups[one.worker])
    }


def out_of_reach(plan: Plan, fixed: Collection[str] = ()) -> dict[tuple[str, str], str]:
    """The workers whose target wait cannot be kept within their bounds, and what it would take.

    ``fixed`` are the workers whose pools cannot be resized: no option would change what they have.
    """
    return {
        (OUT_OF_REACH, worker): (
            f"tasks arrive faster than they can start within {group.target_seconds:g} s: it takes about"
            f" {group.needed} processes on {', '.join(group.group.queues)}, more than --max and the limits"
            " allow; raise them, add workers, or set a longer --target-wait"
        )
        for group in plan.groups
        if group.needed is not None and group.target_seconds is not None
        for worker in group.group.workers
        if worker not in fixed
    }


def too_short(plan: Plan, fixed: Collection[str] = ()) -> dict[tuple[str, str], str]:
    """The workers whose growth comes too late for the target wait, however much they may grow.

    ``fixed`` as in :func:`out_of_reach`.
    """
    return {
        (TOO_SHORT, worker): (
            "a task may be seen one --min-interval after it came, and a process takes a while to start: a"
            f" target of {group.target_seconds:g} s is kept by processes that are there already, not by"
            " growth, and the first tasks of a burst that needs more are late; set a --target-wait"
            f" of about {math.ceil(group.shortest_target_seconds)} s or more, or --min to what a burst needs"
        )
        for group in plan.groups
        if group.target_seconds is not None
        and group.shortest_target_seconds is not None
        and group.target_seconds < group.shortest_target_seconds
        for worker in group.group.workers
        if worker not in fixed
    }


def _waits(group: GroupPlan) -> bool:
    return bool(group.work.waiting or group.work.reserved)


def _state(decision: Decision, group: GroupPlan, override: Override) -> str:
    limit, advice = _LIMITS[decision.desired_reason]
    own = "--max" if override.max_processes is None else "the max of an override, see autoscaler limits"
    size = f"{decision.desired} process{'es' * (decision.desired != 1)}"
    limited = f"limited by {limit.format(max=own)} ({decision.desired_reason})"
    advice = advice.format(queues=", ".join(group.group.queues))
    return f"tasks wait and it stays at {size}, {limited}; {advice}"
