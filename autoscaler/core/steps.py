"""How the size of a group came about, step by step, in the numbers of the decision itself.

Pure. The decider keeps what each step returned in a :class:`Trail`; :func:`steps_of` puts it into words and
totals when somebody asks, so that a tick that nobody looks at costs nothing. The ranges of single workers are
added up, so that one step of a group shows between which totals it had to stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.constraints import reach
from autoscaler.core.distribution import aim, along_edges
from autoscaler.core.model import Reason
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autoscaler.core.constraints import Constraints
    from autoscaler.core.demand.fleet import Fleet, Needs
    from autoscaler.core.model import Decision, Recommendation

#: Where a worker starts from, and the least and the most it may have.
_Range = tuple[int, int, int]


class StepName(StrEnum):
    """The steps of a decision, in their order."""

    RECOMMENDATION = "recommendation"
    STABILIZATION = "stabilization"
    BLOCKAGE = "blockage"
    COOLDOWN = "cooldown"
    STEP = "step"
    MIN_MAX = "min_max"
    CEILING = "ceiling"
    COMPANION = "companion"
    GATES = "gates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step left: ``processes`` of the group, and ``reason`` where it changed or named the number.

    ``lowest`` and ``highest`` are the totals between which it had to stay, None where there are none.
    """

    name: StepName
    processes: int
    reason: Reason | None = None
    lowest: int | None = None
    highest: int | None = None


class Trail(NamedTuple):
    """What the steps of one group's decision returned, in their order.

    ``needs`` are those of a ``fleet`` of workers that share queues, None where one total was distributed.
    ``max_steps`` are the largest steps up and down. ``constraints`` and ``decisions`` have one entry for each
    worker, in the same order.
    """

    recommended: Recommendation
    stabilized: Recommendation
    unblocked: Recommendation
    cooled: Recommendation
    max_steps: tuple[int, int]
    needs: Needs | None = None
    fleet: Fleet | None = None
    constraints: Sequence[Constraints] = ()
    decisions: Sequence[Decision] = ()


def steps_of(trail: Trail) -> tuple[Step, ...]:
    """The steps of one decision."""
    return (*_demand(trail), *_limits(trail))


def _demand(trail: Trail) -> Iterator[Step]:
    before = trail.recommended
    yield Step(name=StepName.RECOMMENDATION, processes=before.processes, reason=before.reason)
    for name, after in (
        (StepName.STABILIZATION, trail.stabilized),
        (StepName.BLOCKAGE, trail.unblocked),
        (StepName.COOLDOWN, trail.cooled),
    ):
        changed = after.processes != before.processes
        # A shrink that stops at the window's largest size keeps the reason of the recommendation.
        named = after.reason if after.reason is not before.reason else Reason.STABILIZING
        yield Step(name=name, processes=after.processes, reason=named if changed else None)
        before = after


def _limits(trail: Trail) -> Iterator[Step]:
    before, found = trail.cooled.processes, trail.constraints
    for name, ranges in (
        (StepName.STEP, [_stepped(one, trail.max_steps) for one in found]),
        (StepName.MIN_MAX, [_bounded(one, trail.max_steps) for one in found]),
        (StepName.CEILING, [_capped(one, trail.max_steps) for one in found]),
        (StepName.COMPANION, [one.range[1:4] for one in found]),
    ):
        lowest, highest = sum(low for _, low, _ in ranges), sum(high for _, _, high in ranges)
        after = _within(trail, ranges, lowest, highest)
        reason = None if after == before else _limit(name, trail, grown=after > before)
        if name is StepName.STEP and trail.max_steps[0] >= MAX_PROCESSES:
            yield Step(name=name, processes=after)  # the target wait has computed a size: no step limits it
        else:
            yield Step(name=name, processes=after, reason=reason, lowest=lowest, highest=highest)
        before = after
    final = sum(
        one.size if decision.target is None else decision.target
        for one, decision in zip(found, trail.decisions, strict=True)
    )
    held = [one.reason for one in trail.decisions if one.reason is not one.desired_reason]
    blocked = [one.blocked_by for one in found if one.blocked_by is not None]
    yield Step(name=StepName.GATES, processes=final, reason=next(iter([*held, *blocked]), None))


def _within(trail: Trail, ranges: Sequence[_Range], lowest: int, highest: int) -> int:
    """What is left of the recommendation within the workers' ranges."""
    sizes = [one.size for one in trail.constraints]
    if trail.needs is not None and trail.fleet is not None:
        targets = [
            one.range._replace(current=current, min_target=low, max_target=high)
            for one, (current, low, high) in zip(trail.constraints, ranges, strict=True)
        ]
        return sum(along_edges(trail.needs, trail.fleet, sizes, targets).targets)
    total = aim(trail.cooled, sum(sizes), sum(current for current, _, _ in ranges))
    return min(max(total, lowest), highest)


def _stepped(one: Constraints, steps: tuple[int, int]) -> _Range:
    return (one.size,) * 3 if one.blocked_by else reach(one.size, steps)


def _bounded(one: Constraints, steps: tuple[int, int]) -> _Range:
    if one.blocked_by:
        return (one.size,) * 3
    highest = one.bounds.max_processes
    if one.bounds.max_reason is Reason.MACHINE and highest is not None:
        highest = max(one.size, highest)
    return reach(one.size, steps, one.bounds.min_processes, highest)


def _capped(one: Constraints, steps: tuple[int, int]) -> _Range:
    if one.blocked_by or one.highest is None:
        return (one.size,) * 3
    return reach(one.size, steps, one.bounds.min_processes, one.highest.processes)


def _limit(name: StepName, trail: Trail, *, grown: bool) -> Reason:
    """What a limit is called that raised the number, or lowered it."""
    if name is StepName.STEP:
        return Reason.STEP
    if name is StepName.COMPANION:
        return Reason.SHRINK_LIMITED
    if grown:
        return Reason.AT_MIN
    if name is StepName.MIN_MAX:
        return next((one.bounds.max_reason for one in trail.constraints), Reason.AT_MAX)
    return next((one.highest.reason for one in trail.constraints if one.highest), Reason.UNKNOWN_LIMIT)
