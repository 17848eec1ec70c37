"""The outcome of a decision: values that the loop carries out and that reports repeat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.steps import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.core.demand.fleet import Share
    from autoscaler.core.demand.work import Work
    from autoscaler.core.groups import Group, Scope
    from autoscaler.core.model import Decision, Reason
    from autoscaler.core.state import GroupState
    from autoscaler.core.steps import Step, Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What was found for workers that share queues, before it was split among them. Sizes are processes.

    ``recommended`` is what the work asks for by the demand in force, whatever the bounds; ``desired`` is what
    is left of it after the cooldowns. ``shadow_recommended`` is what the demand that does not decide asks
    for. ``blocked_by`` is why more processes would not help with the backlog, None where they would.
    ``ended_at`` is when a task was last seen to have ended, in monotonic seconds, None where none was.
    ``needed`` is how many processes it would take to keep the target of ``target_seconds`` where the bounds
    do not allow as many, None where they do or where no target wait decides.
    ``shortest_target_seconds`` is the shortest target that a growth can keep, None where none decides.
    ``oldest_wait_seconds`` is how long the oldest task that has not started has waited, measured against
    ``target_seconds``; it is read or estimated, and None where the work is not known.
    ``shares`` are what each worker carries of it.
    ``trail`` is how the size came about; two plans that differ in it alone are equal.
    """

    group: Group
    work: Work
    recommended: int
    desired: int
    reason: Reason
    up_cooldown_seconds: float
    down_cooldown_seconds: float
    service_seconds: float | None = None
    arrivals_per_second: float | None = None
    shadow_recommended: int | None = None
    blocked_by: Reason | None = None
    ended_at: float | None = None
    target_seconds: float | None = None
    needed: int | None = None
    shortest_target_seconds: float | None = None
    oldest_wait_seconds: float | None = field(default=None, compare=False)
    shares: tuple[Share, ...] = ()
    trail: Trail | None = field(default=None, compare=False, repr=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """How the size came about, step by step; empty for a plan that no decider has made."""
        return () if self.trail is None else steps_of(self.trail)


class Notes(NamedTuple):
    """What else is said of a group's demand: seconds of its cooldowns, the shadow's size, what blocks it."""

    up_cooldown_seconds: float
    down_cooldown_seconds: float
    shadow_recommended: int | None
    blocked_by: Reason | None


class TargetPlan(NamedTuple):
    """How a group is doing against its target wait; the fields are those of :class:`GroupPlan`."""

    seconds: float
    oldest_wait_seconds: float
    needed: int | None
    shortest_seconds: float | None


def plan_group(  # noqa: PLR0917 - what a plan is made of
    group: Group,
    work: Work,
    memory: GroupState,
    trail: Trail,
    notes: Notes,
    shares: Sequence[Share],
    target: TargetPlan | None,
) -> GroupPlan:
    """The plan for one group; ``target`` is None where no target wait decides or the work is not known."""
    learnt, desired = memory.target_wait, trail.cooled
    return GroupPlan(
        group=group,
        work=work,
        recommended=trail.unblocked.processes,
        desired=desired.processes,
        reason=desired.reason,
        up_cooldown_seconds=notes.up_cooldown_seconds,
        down_cooldown_seconds=notes.down_cooldown_seconds,
        service_seconds=learnt.service_seconds if learnt.ended else None,
        arrivals_per_second=learnt.arrivals_per_second if learnt.last else None,
        shadow_recommended=notes.shadow_recommended,
        blocked_by=notes.blocked_by,
        ended_at=memory.ended_at,
        target_seconds=target.seconds if target else None,
        needed=target.needed if target else None,
        shortest_target_seconds=target.shortest_seconds if target else None,
        oldest_wait_seconds=target.oldest_wait_seconds if target else None,
        shares=tuple(shares),
        trail=trail,
    )


def by_scope(
    decisions: Iterable[Decision], scope: Scope
) -> tuple[tuple[Decision, ...], tuple[Decision, ...]]:
    """The decisions for the workers that may be resized, and those for the others; both by name."""
    ordered = sorted(decisions, key=lambda decision: decision.worker)
    if not scope.workers:
        return tuple(ordered), ()
    mine = [scope.may_touch(one.worker) for one in ordered]
    return tuple(compress(ordered, mine)), tuple(compress(ordered, [not one for one in mine]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of one tick: a decision for each worker in scope, by name.

    ``peers`` are the decisions for workers out of scope that share queues with them: another autoscaler acts
    on those, this one never does. ``without_growth`` names those of them that did not grow when they should
    have, so that the others take their share. ``due_at`` is when the next decision is due, in monotonic
    seconds: a look at the usual distance may come too late for a task that waits, or for one that comes where
    the target is short. Infinite where neither is so, and where the workers have all that is allowed.
    """

    at: float
    decisions: tuple[Decision, ...]
    groups: tuple[GroupPlan, ...] = ()
    peers: tuple[Decision, ...] = ()
    without_growth: frozenset[str] = frozenset()
    due_at: float = math.inf
