"""How long the oldest task of some queues has waited, whether that misses the target wait, and why.

Values and pure functions; :class:`~autoscaler.daemon.waits.WaitTracker` keeps what happens between ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.model import Decision
    from autoscaler.core.plan import GroupPlan


class Cause(StrEnum):
    """Causes of a missed target wait that are no :class:`Reason` of a decision."""

    NONE = "none"  # the target is kept
    NO_WORKER = "no_worker"
    NOT_CONSUMED = "not_consumed"
    UNRESPONSIVE = "unresponsive"
    GROWING = "growing"


CAUSES = {
    Cause.NONE: "the target wait is kept",
    Cause.NO_WORKER: "no worker answers at all",
    Cause.NOT_CONSUMED: "no worker that answers consumes these queues",
    Cause.UNRESPONSIVE: "none of the workers of these queues answers",
    Cause.GROWING: "the pool grows, and has not caught up yet",
}
#: Of several decisions the first of these reasons is the cause, so that one worker's does not hide another's.
_FIRST = (
    Reason.PAUSED,
    Reason.DISABLED,
    Reason.DRY_RUN,
    Reason.NOT_LEADER,
    Reason.UNSUPPORTED,
    Reason.HELD,
    Reason.YIELDING,
    Reason.REFUSED,
    Reason.MEMORY_BREACH,
    Reason.MEMORY_PRESSURE,
    Reason.MEMORY_CEILING,
    Reason.CPU_PRESSURE,
    Reason.CPU_CEILING,
    Reason.MACHINE,
    Reason.UNKNOWN_LIMIT,
    Reason.AT_MAX,
)
#: Waits that somebody has asked for: they miss no target.
_INTENDED = frozenset({Reason.RATE_LIMITED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One group of queues. ``seconds`` is at least how long the oldest task has waited.

    ``target_seconds`` is None where no target wait decides. ``missed_seconds`` is for how long the target has
    been missed without a break, 0 where it is kept. ``cause`` is a :class:`Cause` or a decision's reason.
    """

    queues: tuple[str, ...]
    seconds: float
    target_seconds: float | None = None
    missed_seconds: float = 0.0
    cause: str = Cause.NONE


def cause_of_group(
    plan: GroupPlan, decisions: Sequence[Decision], answering: frozenset[str]
) -> Cause | Reason | None:
    """Why the tasks of a group wait, None where somebody has asked for that. ``decisions`` are its own."""
    if plan.blocked_by in _INTENDED:
        return None
    if answering.isdisjoint(plan.group.workers):
        return Cause.UNRESPONSIVE
    if plan.blocked_by is not None:
        return plan.blocked_by
    reasons = [decision.reason for decision in decisions]
    first = next((reason for reason in _FIRST if reason in reasons), None)
    return Cause.GROWING if first is None else first


def cause_without_group(*, any_worker: bool, unresponsive: bool) -> Cause:
    """Why the tasks of a queue wait that no worker which counts consumes."""
    if unresponsive:
        return Cause.UNRESPONSIVE
    return Cause.NOT_CONSUMED if any_worker else Cause.NO_WORKER
