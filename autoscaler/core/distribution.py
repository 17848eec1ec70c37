"""From one recommendation for a group to a decision for each of its workers, with the reason that decided.

Pure. What prevents an action (paused, dry run, another leader) comes last, so that a decision always says
what would have been done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.allocation import allocate
from autoscaler.core.capacity import lowest_processes
from autoscaler.core.demand.fleet import Share
from autoscaler.core.demand.routes import place, total_of, unmet
from autoscaler.core.model import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from autoscaler.core.allocation import TargetRange
    from autoscaler.core.constraints import Constraints
    from autoscaler.core.demand.fleet import Fleet, Needs
    from autoscaler.core.model import Recommendation
    from autoscaler.core.state import KnownWorker


def distribute(
    recommendation: Recommendation, current_total: int, constraints: Sequence[Constraints]
) -> list[Share]:
    """Each worker's share of a total; others make up for what a bound forces on one only on the way to it."""
    ranges = [one.range for one in constraints]
    targets = allocate(ranges, aim(recommendation, current_total, sum(one.current for one in ranges)))
    short = sum(targets.values()) < recommendation.processes
    return [
        Share(
            worker=one.worker,
            target=(target := targets[one.worker]),
            own=max(0, target - found.size),
            short=short,
        )
        for one, found in zip(ranges, constraints, strict=True)
    ]


def aim(recommendation: Recommendation, current_total: int, forced: int) -> int:
    """The total to distribute, where bounds alone move the current total to ``forced``."""
    if recommendation.processes > current_total:
        return max(recommendation.processes, forced)
    if recommendation.processes < current_total:
        return min(recommendation.processes, forced)
    return forced


def bounded(
    needs: Needs | None,
    demand: Recommendation,
    desired: Recommendation,
    current_total: int,
    *,
    helps: bool,
) -> Needs | None:
    """The needs as far as they are in force.

    ``demand`` is what is left of them where more processes would help (``helps``), ``desired`` what is left
    of that after the cooldowns.
    """
    if needs is None:
        return None
    if demand.processes != needs.total or not helps:
        return needs.without_growth()._replace(kept=min(current_total, desired.processes))
    if desired.processes == demand.processes:
        return needs
    cooled = needs._replace(kept=current_total)
    return cooled.without_growth() if demand.processes > current_total else cooled


class Along(NamedTuple):
    """Where the needs of a group went: ``targets``, the part of each for shared queues, and who is short."""

    targets: list[int]
    shared: list[int]
    short: frozenset[int]


def along_edges(needs: Needs, fleet: Fleet, sizes: Sequence[int], ranges: Sequence[TargetRange]) -> Along:
    """Targets within ``ranges``: each worker's own needs on it, those of shared queues along their edges."""
    targets = [
        min(max(one.current, size + own), one.max_target) if own else one.current
        for size, one, own in zip(sizes, ranges, needs.own, strict=True)
    ]
    short = {
        number
        for number, (size, own, target) in enumerate(zip(sizes, needs.own, targets, strict=True))
        if own and target < size + own
    }
    shared = [0] * len(ranges)
    if any(needs.shared):
        # What a bound adds anyway is there for the shared queues too.
        extra = [
            max(0, target - size - own) for size, target, own in zip(sizes, targets, needs.own, strict=True)
        ]
        edges = [channel.consumers for channel in fleet.channels]
        wanted = [round(left) for left in unmet(needs.shared, extra, edges)]
        room = [one.max_target - target for one, target in zip(ranges, targets, strict=True)]
        flow = place(wanted, room, targets, edges)
        for more, taken, members in zip(wanted, flow, edges, strict=True):
            if sum(taken.values()) < more:
                short.update(members)
        shared = total_of(flow, len(ranges))
    grown = [target + more for target, more in zip(targets, shared, strict=True)]
    shrinks = needs.kept < sum([member.processes for member in fleet.members])
    return Along(_shrunk(needs, ranges, grown) if shrinks else grown, shared, frozenset(short))


def distribute_along_edges(needs: Needs, fleet: Fleet, constraints: Sequence[Constraints]) -> list[Share]:
    """Each worker's share, within its range: of its own needs, and of those of the queues it consumes."""
    found = along_edges(needs, fleet, [one.size for one in constraints], [one.range for one in constraints])
    short = found.short
    parts = zip(constraints, found.targets, needs.own, found.shared, strict=True)
    return [
        Share(one.range.worker, target, own, shared, number in short)
        for number, (one, target, own, shared) in enumerate(parts)
    ]


def _shrunk(needs: Needs, ranges: Sequence[TargetRange], grown: Sequence[int]) -> list[int]:
    """The same with as many idle processes taken away as are not worth keeping."""
    left = [
        one._replace(
            current=target,
            max_target=target,
            min_target=target if target > one.current else max(one.min_target, min(target, keep)),
        )
        for one, target, keep in zip(ranges, grown, needs.keep, strict=True)
    ]
    targets = allocate(left, min(needs.total, sum(grown)))
    return [targets[one.worker] for one in ranges]


class Desired(NamedTuple):
    """What is desired of all workers of a group together, and where; ``current_total`` is what they have.

    ``needs`` and ``fleet`` are None where one worker does all the work.
    """

    total: Recommendation
    needs: Needs | None
    fleet: Fleet | None
    current_total: int


def shared_out(
    desired: Desired, constraints: Sequence[Constraints], held: Sequence[int] = ()
) -> tuple[list[Share], list[Decision]]:
    """Each worker's share of what is desired, and the decision for it, explained.

    ``held`` are the numbers of workers that will not be resized: the decision for them is what would be done,
    and the others take what they would take.
    """
    shares, decisions = _shared_out(desired, constraints)
    stuck = {number for number in held if shares[number].target > constraints[number].size}
    if not stuck:
        return shares, decisions
    able = [one.fixed() if number in stuck else one for number, one in enumerate(constraints)]
    shares, others = _shared_out(desired, able)
    return shares, [decisions[number] if number in stuck else one for number, one in enumerate(others)]


def _shared_out(desired: Desired, constraints: Sequence[Constraints]) -> tuple[list[Share], list[Decision]]:
    total, needs, fleet, current_total = desired
    if needs is None or fleet is None:
        shares = distribute(total, current_total, constraints)
        grows, shrinks = total.processes > current_total, total.processes < current_total
    else:
        shares = distribute_along_edges(needs, fleet, constraints)
        grows, shrinks = needs.growth > 0, needs.kept < current_total
    unmet = sum([share.target for share in shares]) - total.processes
    decisions = []
    for found, share in zip(constraints, shares, strict=True):
        short = grows and share.short
        decision = explain(
            total.reason,
            found,
            share.target,
            grows=grows,
            shrinks=shrinks and not short,
            unmet=-1 if short else unmet,
        )
        decisions.append(decision)
    return shares, decisions


def explain(
    recommended_for: Reason, found: Constraints, target: int, *, grows: bool, shrinks: bool, unmet: int
) -> Decision:
    """The decision for one worker, named by the limit that applies where one does.

    ``grows`` and ``shrinks`` are what was recommended for its group. ``unmet`` is how far the targets are
    above (or, negative, below) that.
    """
    if found.forced and target == found.range.current:
        reason = found.forced
    elif grows and unmet < 0 and target == found.range.max_target:
        reason = found.max_reason
    elif shrinks and unmet > 0 and target == found.range.min_target:
        reason = found.min_reason
    elif target == found.size and (grows or shrinks):
        reason = Reason.STEADY
    else:
        reason = recommended_for
    return Decision(found.range.worker, found.size, target, reason, target, reason, found.bounds)


def gate(member: KnownWorker, found: Constraints, decision: Decision, held_by: Reason | None) -> Decision:
    """Hold where something prevents the action, and keep what would have been done."""
    if found.blocked_by is Reason.UNKNOWN_SIZE:
        return unseen(decision.worker)._replace(bounds=found.bounds)
    if found.blocked_by:
        size, why = member.reading.processes, found.blocked_by
        return decision._replace(current=size, target=size, desired_reason=why, reason=why)
    if held_by and decision.desired != decision.current:
        return decision._replace(target=decision.current, reason=held_by)
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


def highest_size(decision: Decision, fixed: Collection[str]) -> int | None:
    """How many processes a worker may have now, None where no bound is known.

    One of the ``fixed`` is not resized, or not by this autoscaler: it has no more than it has.
    """
    if decision.worker in fixed:
        return decision.current
    return lowest_processes(decision.bounds) if decision.bounds else None


def may_grow(decision: Decision, highest: int | None) -> bool:
    """Whether a sooner look can come to more processes: not where it gets all that is allowed now."""
    return highest is None or decision.target is None or decision.target < highest
