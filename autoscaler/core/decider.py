"""The decision: from what was seen to a target and a reason for each worker.

The law: no I/O, no logger, no clock. :meth:`Decider.decide` takes the remembered state and one observation
and returns the next state and a plan; the same input gives the same plan. Each step is a small function, and
they run in this order, the hard limits last: recommend (:mod:`autoscaler.core.demand.thresholds`), stabilize, cool down,
step, ``min`` and ``max``, the container's ceiling, which beats ``min``. What holds the hand (paused, an
action outstanding, a dry run) comes after all that, so that a plan always tells what would have been done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core import capacity
from autoscaler.core.allocation import Room, allocate
from autoscaler.core.capacity import Ceiling
from autoscaler.core.demand.target_wait import TargetWaitPolicy, advance
from autoscaler.core.demand.thresholds import Wish, Work, thresholds
from autoscaler.core.groups import Group, Scope, measure, signal, split
from autoscaler.core.model import Decision, Reason
from autoscaler.core.policy import MAX_PROCESSES
from autoscaler.core.state import GroupState, KnownWorker, State, remember

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.demand.target_wait import Signal
    from autoscaler.core.model import Observation, Override, QueueReading
    from autoscaler.core.policy import Policy


class Mode(StrEnum):
    """Whether decisions are carried out."""

    ACT = "act"
    DRY_RUN = "dry_run"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What was found for workers that share queues, before it was split among them.

    ``asked`` is the size the work asks for by the demand in force, whatever the bounds; ``wish`` is what is
    left of it after the cooldowns.
    """

    group: Group
    work: Work
    asked: int
    wish: int
    reason: Reason
    up_cooldown_seconds: float
    down_cooldown_seconds: float
    service_seconds: float | None = None
    arrivals_per_second: float | None = None
    shadow_wish: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of one tick: a decision for each worker in scope, by name."""

    at: float
    decisions: tuple[Decision, ...]
    groups: tuple[GroupPlan, ...] = ()


class _Bounds(NamedTuple):
    """How far a worker may go this time, and what stops it at each end.

    ``forced`` names the bound that ``room.base`` was moved by, where it was; ``blocked_by`` why the worker
    can neither grow nor shrink now, whoever asks.
    """

    room: Room
    size: int
    floor_reason: Reason
    roof_reason: Reason
    forced: Reason | None = None
    blocked_by: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Decides by one policy, for one scope.

    ``quiesces`` tells that a worker without companion is emptied before it is shrunk, and so may shrink.
    With ``latency`` the latency demand decides; with ``shadow`` it only tells what it would have wished for.
    ``target_waits`` gives single queues a target of their own, in seconds.
    """

    policy: Policy
    scope: Scope = field(default_factory=Scope)
    mode: Mode = Mode.ACT
    quiesces: bool = False
    latency: TargetWaitPolicy | None = None
    shadow: TargetWaitPolicy | None = None
    target_waits: Mapping[str, float] = field(default_factory=dict)

    def decide(self, state: State, observation: Observation) -> tuple[State, Plan]:
        """The next state and the plan for what was observed."""
        workers, changed = remember(self.policy, state.workers, observation)
        queues = {queue.name: queue for queue in observation.queues}
        decisions, plans, groups = [], [], {}
        for group in split(workers, self.scope):
            memory = state.groups.get(group.key)
            if memory is None or changed.intersection(group.workers):
                seen_at = memory.seen_at if memory else observation.at
                memory = memory or GroupState(changed_at=observation.at, seen_at=seen_at)
                memory = replace(memory, changed_at=observation.at)
            groups[group.key], group_plan, found = self._decide_group(
                group, memory, workers, queues, observation
            )
            plans.append(group_plan)
            decisions += [decision for decision in found if self.scope.may_touch(decision.worker)]
        decisions += [_unseen(name) for name in sorted(self.scope.workers - workers.keys())]
        decisions.sort(key=lambda decision: decision.worker)
        plan = Plan(at=observation.at, decisions=tuple(decisions), groups=tuple(plans))
        return State(workers=workers, groups=groups), plan

    def _decide_group(
        self,
        group: Group,
        memory: GroupState,
        workers: Mapping[str, KnownWorker],
        queues: Mapping[str, QueueReading],
        observation: Observation,
    ) -> tuple[GroupState, GroupPlan, list[Decision]]:
        at = observation.at
        work, readable = measure(group, workers, queues, at)
        members = [workers[name] for name in group.workers]
        current_total = sum(member.size or 0 for member in members)
        seen = signal(group, workers, queues, work, at) if work.complete else None
        memory, learnt = self._learn(memory, group, seen)
        memory, wish = self._recommend(memory, work, current_total, at, readable=readable)
        wish = stabilize(memory, wish, current_total)
        shadow = learnt if self.shadow is not None else None
        up, down = cooldowns(self.policy, memory, at)
        if self.latency is not None and learnt is not None:
            # It keeps processes by what it learns, and a growth that waits would come too late: cooldowns
            # are for a start alone, when it has learnt nothing yet.
            shadow, up = wish.processes, 0.0
            down = max(0.0, self.policy.scale_down_cooldown_seconds - (at - memory.seen_at))
            wish = Wish(processes=learnt, reason=Reason.LATENCY, recommended=learnt)
        asked = wish.processes
        wish = cool_down(wish, current_total, up=up, down=down)
        idle = work.complete and work.tasks == 0
        bounds = [self._bounds(member, observation.override, at, idle=idle) for member in members]
        targets = _distribute(wish, current_total, bounds)
        unmet = sum(targets.values()) - wish.processes
        held = self._held_by(observation)
        decisions = []
        for member, bound in zip(members, bounds, strict=True):
            decision = _explain(wish, bound, targets[bound.room.worker], current_total, unmet)
            own = Reason.HELD if bound.room.worker in observation.override.held_workers else None
            decisions.append(_gate(member, bound, decision, held or own))
        plan = GroupPlan(
            group=group,
            work=work,
            asked=asked,
            wish=wish.processes,
            reason=wish.reason,
            up_cooldown_seconds=up,
            down_cooldown_seconds=down,
            service_seconds=memory.latency.service_seconds if memory.latency.ended else None,
            arrivals_per_second=memory.latency.arrivals_per_second if memory.latency.last else None,
            shadow_wish=shadow,
        )
        return memory, plan, decisions

    def _learn(self, memory: GroupState, group: Group, seen: Signal | None) -> tuple[GroupState, int | None]:
        """What the latency demand has learnt, and its wish; None where the work is not known."""
        if seen is None:
            return memory, None
        parameters = self.latency or self.shadow or TargetWaitPolicy()
        own = parameters.target_wait_seconds
        # Which queue a fetched task came from is not known: the most urgent holds for all of them.
        target = min((self.target_waits.get(queue, own) for queue in group.queues), default=own)
        if target != own:
            parameters = replace(parameters, target_wait_seconds=target)
        latency, wish = advance(parameters, memory.latency, seen)
        return replace(memory, latency=latency), wish

    def _recommend(
        self, memory: GroupState, work: Work, current_total: int, at: float, *, readable: bool
    ) -> tuple[GroupState, Wish]:
        """What the load asks for, kept in the window; nothing where the backlog is not known."""
        watch, wish = thresholds(self.policy, memory.watch, work, at)
        if not readable or (not work.complete and wish.reason is Reason.STEADY):
            return replace(memory, watch=watch), Wish(
                processes=current_total, reason=Reason.STALE, recommended=current_total
            )
        if wish.reason in {Reason.STEADY, Reason.DELAYED}:
            wish = replace(wish, processes=current_total)
        # A fresh start has wished for what it found.
        wishes = memory.wishes or ((at, current_total),)
        if work.complete:
            wishes = _keep(wishes, (at, wish.recommended), self.policy.stabilization_seconds)
        return replace(memory, watch=watch, wishes=wishes), wish

    @property
    def _steps(self) -> tuple[int, int]:
        # Steps feel their way to a size; the latency demand has reckoned it.
        if self.latency is not None:
            return MAX_PROCESSES, MAX_PROCESSES
        return self.policy.max_step_up, self.policy.max_step_down

    def _bounds(self, member: KnownWorker, override: Override, at: float, *, idle: bool) -> _Bounds:
        size, reading = member.size, member.reading
        blocked_by = _blocked_by(member, at)
        if size is None or blocked_by:
            return _fixed(reading.name, size or 0, blocked_by)
        high = _upper(self.policy, override, member, size)
        most = high.processes
        wanted_min = self.policy.min_processes if override.min_processes is None else override.min_processes
        low = min(wanted_min, most)
        step_up, step_down = self._steps
        base = low if size < low else min(size, most)
        roof = max(base, min(size + step_up, most))
        floor = min(base, max(size - step_down, low))
        floor_reason = Reason.STEP if size - step_down > low else Reason.AT_MIN
        forced = None if base == size else Reason.AT_MIN if base > size else high.reason
        if not (reading.companion or idle or self.quiesces) and floor < size:
            # Stock pool_shrink ends children that hold a task: only a worker without any may shrink.
            forced = Reason.SHRINK_LIMITED if base < size else None
            floor, base, roof = size, max(size, base), max(size, roof)
            floor_reason = Reason.SHRINK_LIMITED
        spare = max(0, size - (reading.busy or 0))
        room = Room(reading.name, base, floor, roof, spare)
        roof_reason = Reason.STEP if size + step_up < most else high.reason
        return _Bounds(room, size, floor_reason, roof_reason, forced)

    def _held_by(self, observation: Observation) -> Reason | None:
        """What forbids to act on any worker at all."""
        asked = (
            (self.mode is Mode.DISABLED, Reason.DISABLED),
            (self.mode is Mode.DRY_RUN, Reason.DRY_RUN),
            (observation.override.paused, Reason.PAUSED),
            (not observation.leader, Reason.NOT_LEADER),
        )
        return next((reason for holds, reason in asked if holds), None)


def stabilize(memory: GroupState, wish: Wish, current_total: int) -> Wish:
    """Shrink only to the highest size wished for within the window."""
    if wish.processes >= current_total:
        return wish
    highest = max((size for _, size in memory.wishes), default=wish.processes)
    if highest >= current_total:
        return replace(wish, processes=current_total, reason=Reason.STABILIZING)
    return replace(wish, processes=max(wish.processes, highest))


def cooldowns(policy: Policy, memory: GroupState, at: float) -> tuple[float, float]:
    """Seconds until a growth and until a shrink may follow the last observed change."""
    passed = at - memory.changed_at
    return (
        max(0.0, policy.scale_up_cooldown_seconds - passed),
        max(0.0, policy.scale_down_cooldown_seconds - passed),
    )


def cool_down(wish: Wish, current_total: int, *, up: float, down: float) -> Wish:
    """Hold where the cooldown of the wished direction still runs."""
    if (wish.processes > current_total and up > 0) or (wish.processes < current_total and down > 0):
        return replace(wish, processes=current_total, reason=Reason.COOLDOWN)
    return wish


def _keep(
    wishes: tuple[tuple[float, int], ...], newest: tuple[float, int], window_seconds: float
) -> tuple[tuple[float, int], ...]:
    since = newest[0] - window_seconds
    return (*(wish for wish in wishes if wish[0] > since and wish[1] > newest[1]), newest)


def _upper(policy: Policy, override: Override, member: KnownWorker, size: int) -> Ceiling:
    """The lowest upper bound of a worker and its name."""
    container = member.reading.container
    most = policy.max_processes if override.max_processes is None else override.max_processes
    if most is not None:
        lowest = Ceiling(most, Reason.AT_MAX)
    else:
        unknown = Ceiling(max(1, size), Reason.UNKNOWN_LIMIT)
        lowest = capacity.automatic_max(policy, container) or unknown
    for bound in (
        capacity.ceiling(policy, container),
        capacity.pressure(policy, container, size, retiring=member.reading.retiring),
    ):
        if bound is not None and bound.processes < lowest.processes:
            lowest = bound
    return lowest


def _blocked_by(member: KnownWorker, at: float) -> Reason | None:
    if member.read_at != at or member.reading.processes is None:
        return Reason.UNKNOWN_SIZE
    if member.reading.unsupported:
        return Reason.UNSUPPORTED
    return Reason.OUTSTANDING if member.outstanding else None


def _fixed(worker: str, size: int, blocked_by: Reason | None) -> _Bounds:
    return _Bounds(
        room=Room(worker, size, size, size),
        size=size,
        floor_reason=Reason.STEADY,
        roof_reason=Reason.STEADY,
        blocked_by=blocked_by,
    )


def _distribute(wish: Wish, current_total: int, bounds: list[_Bounds]) -> dict[str, int]:
    """Targets by worker. What a bound forces on one worker is not made up for by others unless wished."""
    rooms = [bound.room for bound in bounds]
    forced = sum(room.base for room in rooms)
    if wish.processes > current_total:
        total = max(wish.processes, forced)
    elif wish.processes < current_total:
        total = min(wish.processes, forced)
    else:
        total = forced
    return allocate(rooms, total)


def _explain(wish: Wish, bound: _Bounds, target: int, current_total: int, unmet: int) -> Decision:
    """The decision for one worker, named by the limit that bites where one does."""
    grows, shrinks = wish.processes > current_total, wish.processes < current_total
    at_roof = grows and unmet < 0 and target == bound.room.roof
    at_floor = shrinks and unmet > 0 and target == bound.room.floor
    if bound.forced and target == bound.room.base:
        reason = bound.forced
    elif at_roof:
        reason = bound.roof_reason
    elif at_floor:
        reason = bound.floor_reason
    elif target == bound.size and (grows or shrinks):
        reason = Reason.STEADY
    else:
        reason = wish.reason
    return Decision(
        worker=bound.room.worker,
        current=bound.size,
        wanted=target,
        cause=reason,
        target=target,
        reason=reason,
    )


def _gate(member: KnownWorker, bound: _Bounds, decision: Decision, held: Reason | None) -> Decision:
    """Hold the hand where something forbids to act, keeping what would have been done."""
    if bound.blocked_by is Reason.UNKNOWN_SIZE:
        return _unseen(decision.worker)
    if bound.blocked_by:
        size, why = member.reading.processes, bound.blocked_by
        return replace(decision, current=size, target=size, cause=why, reason=why)
    if held and decision.wanted != decision.current:
        return replace(decision, target=decision.current, reason=held)
    return decision


def _unseen(worker: str) -> Decision:
    return Decision(
        worker=worker,
        current=None,
        wanted=None,
        cause=Reason.UNKNOWN_SIZE,
        target=None,
        reason=Reason.UNKNOWN_SIZE,
    )
