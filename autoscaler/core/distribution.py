"""From one recommendation for a group to a decision for each of its workers, with the reason that decided.

Pure. What prevents an action (paused, dry run, another leader) comes last, so that a decision always says
what would have been done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoscaler.core.allocation import allocate
from autoscaler.core.model import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.core.constraints import Constraints
    from autoscaler.core.model import Recommendation
    from autoscaler.core.state import KnownWorker


def distribute(
    recommendation: Recommendation, current_total: int, constraints: Sequence[Constraints]
) -> dict[str, int]:
    """Targets by worker. Others make up for what a bound forces on one only where that is recommended."""
    ranges = [one.range for one in constraints]
    return allocate(ranges, aim(recommendation, current_total, sum(one.current for one in ranges)))


def aim(recommendation: Recommendation, current_total: int, forced: int) -> int:
    """The total to distribute, where bounds alone move the current total to ``forced``."""
    if recommendation.processes > current_total:
        return max(recommendation.processes, forced)
    if recommendation.processes < current_total:
        return min(recommendation.processes, forced)
    return forced


def explain(
    recommendation: Recommendation, found: Constraints, target: int, current_total: int, unmet: int
) -> Decision:
    """The decision for one worker, named by the limit that applies where one does.

    ``unmet`` is how far the targets of all workers are above (or, negative, below) what was recommended.
    """
    grows = recommendation.processes > current_total
    shrinks = recommendation.processes < current_total
    if found.forced and target == found.range.current:
        reason = found.forced
    elif grows and unmet < 0 and target == found.range.max_target:
        reason = found.max_reason
    elif shrinks and unmet > 0 and target == found.range.min_target:
        reason = found.min_reason
    elif target == found.size and (grows or shrinks):
        reason = Reason.STEADY
    else:
        reason = recommendation.reason
    return Decision(
        worker=found.range.worker,
        current=found.size,
        desired=target,
        desired_reason=reason,
        target=target,
        reason=reason,
        bounds=found.bounds,
    )


def gate(member: KnownWorker, found: Constraints, decision: Decision, held_by: Reason | None) -> Decision:
    """Hold where something prevents the action, and keep what would have been done."""
    if found.blocked_by is Reason.UNKNOWN_SIZE:
        return replace(unseen(decision.worker), bounds=found.bounds)
    if found.blocked_by:
        size, why = member.reading.processes, found.blocked_by
        return replace(decision, current=size, target=size, desired_reason=why, reason=why)
    if held_by and decision.desired != decision.current:
        return replace(decision, target=decision.current, reason=held_by)
    return decision


def unseen(worker: str) -> Decision:
    """The decision for a worker that did not report its size."""
    return Decision(
        worker=worker,
        current=None,
        desired=None,
        desired_reason=Reason.UNKNOWN_SIZE,
        target=None,
        reason=Reason.UNKNOWN_SIZE,
    )
