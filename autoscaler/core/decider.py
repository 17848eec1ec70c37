"""The decision: from what was seen to a target and a reason for each worker.

No I/O, no logger, no clock. :meth:`Decider.decide` takes the remembered state and one observation and returns
the next state and a plan, and is the only place where state changes; the same input gives the same plan. The
steps are small functions, in this order, the hard limits last:

1. remember what was read and what came of the last actions (:mod:`~autoscaler.core.state`);
2. measure the work of each group of workers (:mod:`~autoscaler.core.groups`,
   :mod:`~autoscaler.core.measure`);
3. recommend a size, by thresholds or by a target wait (:mod:`~autoscaler.core.demand`);
4. stabilize and cool down (:mod:`~autoscaler.core.stabilization`);
5. constrain each worker: step, ``min`` and ``max``, and the container's ceiling, which beats ``min``
   (:mod:`~autoscaler.core.constraints`);
6. distribute the size among the workers and explain it (:mod:`~autoscaler.core.distribution`).

What prevents an action (paused, an action outstanding, a dry run) comes after all that, so that a plan always
says what would have been done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core import peers
from autoscaler.core.blockage import blocked_by, stalled_since, unless_blocked
from autoscaler.core.constraints import constrain
from autoscaler.core.containers import parts
from autoscaler.core.demand import reach
from autoscaler.core.demand.pace import Looks
from autoscaler.core.demand.passing import follow
from autoscaler.core.demand.target_wait import TargetWaitPolicy, advance, advance_fleet
from autoscaler.core.demand.thresholds import high_load, needs_of_load, own_tasks, thresholds
from autoscaler.core.distribution import (
    Desired,
    bounded,
    gate,
    highest_size,
    may_grow,
    shared_out,
    unseen,
)
from autoscaler.core.groups import Scope, split
from autoscaler.core.measure import fleet, measure, signal
from autoscaler.core.memory import remember_memory
from autoscaler.core.model import Reason, Recommendation
from autoscaler.core.plan import GroupPlan, Notes, Plan, TargetPlan, by_scope, plan_group
from autoscaler.core.policy import MAX_PROCESSES
from autoscaler.core.rivals import yields_to
from autoscaler.core.stabilization import cool_down, cooldowns, keep, stabilize
from autoscaler.core.state import State, absent, recall, remember
from autoscaler.core.steps import Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.core.constraints import Constraints
    from autoscaler.core.containers import Part
    from autoscaler.core.demand.fleet import Fleet, Needs, Share
    from autoscaler.core.demand.work import Work
    from autoscaler.core.groups import Group
    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import Decision, Observation, Override, QueueReading, WorkerReading
    from autoscaler.core.policy import Policy
    from autoscaler.core.state import GroupState, KnownWorker

__all__ = ["Decider", "GroupPlan", "Mode", "Plan"]

#: The target wait learns in any case, so that it knows the work where it is to decide.
_LEARNS_ONLY = TargetWaitPolicy()


class Mode(StrEnum):
    """Whether decisions are carried out."""

    ACT = "act"
    DRY_RUN = "dry_run"
    DISABLED = "disabled"


class _Seen(NamedTuple):
    """One group as this tick sees it; ``members``, and their ``readings``, are in the order of its workers.

    ``fleet`` is None where one worker does all the work.
    """

    group: Group
    members: Sequence[KnownWorker]
    readings: Sequence[WorkerReading]
    work: Work
    current_total: int
    fleet: Fleet | None


class _Limits(NamedTuple):
    """What is known of the limits that workers live under, by their names, and who keeps the size it has."""

    records: Mapping[str, MemoryRecord]
    parts: Mapping[str, Part]
    fixed: frozenset[str]


class _Learnt(NamedTuple):
    """What the target wait recommends; ``needs`` says where, unless there is one worker for it all."""

    size: int
    needs: Needs | None

    def recommendation(self, seen: _Seen) -> Recommendation:
        """The same as what a policy recommends: what is not known may be work, and takes nothing away.

        Where nothing is known of what waits, it adds nothing either.
        """
        size, reason, work = self.size, Reason.LATENCY, seen.work
        if work.unknown and (size <= seen.current_total or not work.readable):
            size, reason = seen.current_total, work.unknown
        return Recommendation(processes=size, reason=reason, before_delays=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Decides by one policy, for one scope.

    ``name`` is the autoscaler's own: by it, it yields to another that acts on the same worker.
    ``quiesces`` is True where a worker without companion is emptied before a shrink, and so may shrink.
    With ``target_wait`` the target wait decides, else the thresholds; with ``shadow`` it only reports what it
    would have recommended. ``target_waits`` gives single queues a target of their own, in seconds. The next
    tick comes ``interval_seconds`` later, or ``min_interval_seconds`` where one is due; None where not known.
    """

    policy: Policy
    scope: Scope = field(default_factory=Scope)
    mode: Mode = Mode.ACT
    quiesces: bool = False
    target_wait: TargetWaitPolicy | None = None
    shadow: TargetWaitPolicy | None = None
    target_waits: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    min_interval_seconds: float | None = None
    interval_seconds: float | None = None

    @property
    def named_queues(self) -> frozenset[str]:
        """The queues that the settings name, whether or not a worker consumes them."""
        return self.scope.queues | frozenset(self.target_waits)

    def decide(self, state: State, observation: Observation) -> tuple[State, Plan]:
        """The next state and the plan for what was observed."""
        at = observation.at
        workers, changed = remember(self.policy, state.workers, observation)
        memory_records = remember_memory(self.policy, state.memory, observation.workers, at)
        queues = {queue.name: queue for queue in observation.queues}
        shared = parts(self.policy, workers, memory_records, observation)
        awaited = peers.unchanged(state.peers, observation.workers, at)
        fixed = observation.override.held_workers | peers.without_growth(awaited)
        limits, due_at = _Limits(memory_records, shared, fixed), math.inf
        decisions, plans, groups = [], [], {}
        found = split(workers, self.scope)
        changes = {group.key: not changed.isdisjoint(group.workers) for group in found}
        recalled, target_of = recall(state.groups, changes, at), self._target_of
        for group in found:
            members = [workers[name] for name in group.workers]
            memory, work = self._measure(recalled[group.key], group, members, queues, at)
            seen = _Seen(
                group=group,
                members=members,
                readings=[member.reading for member in members],
                work=work,
                current_total=sum([member.size or 0 for member in members]),
                fleet=fleet(group, members, queues, work, target_of),
            )
            memory, trail, notes = self._demand(seen, memory, queues, at)
            constraints, shares, decided = self._decide_workers(seen, trail, observation, limits)
            highest = [highest_size(one, fixed) for one in decided]
            memory, target = self._reach(seen, memory, notes.blocked_by, highest, at)
            trail = trail._replace(constraints=constraints, decisions=decided)
            plans.append(plan_group(group, work, memory, trail, notes, shares, target))
            groups[group.key] = memory
            decisions += decided
            if self.target_wait and any(map(may_grow, decided, highest)):
                due_at = min(due_at, memory.target_wait.due_at)
        decisions += [unseen(name) for name in sorted(self.scope.workers - workers.keys())]
        mine, others = by_scope(decisions, self.scope)
        awaited = peers.follow(awaited, others, at, self._patience)
        stuck = peers.without_growth(awaited)
        plan = Plan(
            at=at, decisions=mine, groups=tuple(plans), peers=others, without_growth=stuck, due_at=due_at
        )
        kept = groups | absent(state.groups, groups, at)
        return State(workers=workers, groups=kept, memory=memory_records, peers=awaited), plan

    @staticmethod
    def _measure(
        memory: GroupState,
        group: Group,
        members: Sequence[KnownWorker],
        queues: Mapping[str, QueueReading],
        at: float,
    ) -> tuple[GroupState, Work]:
        """The group's work, with how much of it needs no process when it is fetched."""
        work = measure(group, members, queues, at)
        readings = [member.reading for member in members if member.read_at == at]
        own = {name: queues[name] for name in group.queues if name in queues}
        fetched, passing = follow(memory.fetched, readings, own)
        return memory._replace(fetched=fetched), work._replace(passing=min(passing, work.waiting))

    def _demand(
        self, seen: _Seen, memory: GroupState, queues: Mapping[str, QueueReading], at: float
    ) -> tuple[GroupState, Trail, Notes]:
        """What is remembered, and what the group is to have before the bounds on its workers."""
        current_total = seen.current_total
        memory, learnt = self._learn(memory, seen, queues, at)
        memory, recommended, needs = self._recommend(memory, seen, at)
        stabilized = stabilize(memory, recommended, current_total)
        shadow = learnt.size if self.shadow is not None and seen.work.complete else None
        up, down = cooldowns(self.policy, memory, at)
        if self.target_wait is not None:
            # It keeps processes by what it learns, and a growth that waits would come too late: cooldowns
            # are for a start alone, when it has learnt nothing yet.
            up, down = 0.0, max(0.0, self.policy.scale_down_cooldown_seconds - (at - memory.seen_at))
            shadow, needs = stabilized.processes, learnt.needs
            recommended = stabilized = learnt.recommendation(seen)
        blocked = blocked_by(seen.readings, seen.work, stalled_seconds=memory.stalled_seconds(at))
        demand = unless_blocked(stabilized, current_total, blocked)
        desired = cool_down(demand, current_total, up=up, down=down)
        trail = Trail(
            recommended=recommended,
            stabilized=stabilized,
            unblocked=demand,
            cooled=desired,
            max_steps=self._steps,
            needs=bounded(needs, demand, desired, current_total, helps=blocked is None),
            fleet=seen.fleet,
        )
        return memory, trail, Notes(up, down, shadow, blocked)

    def _reach(
        self,
        seen: _Seen,
        memory: GroupState,
        blocked: Reason | None,
        highest: Sequence[int | None],
        at: float,
    ) -> tuple[GroupState, TargetPlan | None]:
        """What is remembered and said of whether the bounds allow the target wait to be kept."""
        if self.target_wait is None or not seen.work.complete:
            return memory, None
        target = min(map(self._target_of, seen.group.queues), default=self.target_wait.target_wait_seconds)
        limits = [one for one in highest if one is not None]
        work, learnt = seen.work, memory.target_wait
        look = reach.Look(
            at=at,
            tasks=work.tasks,
            backlog=work.waiting - work.passing + work.reserved,
            ended=memory.completions.total,
            target_seconds=target,
            service_seconds=reach.surely_served(self.target_wait, learnt),
            limit=sum(limits) if len(limits) == len(highest) and blocked is None else None,
        )
        reached = reach.follow(memory.reach, look)
        looks = Looks(self.min_interval_seconds, self.interval_seconds)
        return memory._replace(reach=reached), TargetPlan(
            seconds=target,
            oldest_wait_seconds=learnt.oldest_wait_seconds(at, target),
            needed=reached.needed or None,
            shortest_seconds=reach.shortest_learnt(self.target_wait, learnt, looks),
        )

    @property
    def _parameters(self) -> TargetWaitPolicy:
        """Those of the target wait that learns, whether or not it decides."""
        return self.target_wait or self.shadow or _LEARNS_ONLY

    @property
    def _target_of(self) -> Callable[[str], float]:
        """The target wait of a queue, by its name."""
        own, usual = self.target_waits, self._parameters.target_wait_seconds
        return lambda queue: own.get(queue, usual)

    def _learn(
        self, memory: GroupState, seen: _Seen, queues: Mapping[str, QueueReading], at: float
    ) -> tuple[GroupState, _Learnt]:
        """What the target wait has learnt, and what it recommends."""
        parameters, looks = self._parameters, Looks(self.min_interval_seconds, self.interval_seconds)
        completions, starts = memory.completions.add(seen.readings), memory.starts.add(seen.readings)
        own_queues = [queues[name] for name in seen.group.queues if name in queues]
        shown = signal(at, seen.members, own_queues, seen.work, completions, start_seconds=starts.seconds)
        if seen.fleet is not None:
            target_wait, needs = advance_fleet(parameters, memory.target_wait, shown, seen.fleet, looks)
            learnt = _Learnt(needs.total, needs)
        else:
            aimed = parameters.aimed_at(self._target_of(next(iter(seen.group.queues), "")))
            target_wait, size = advance(aimed, memory.target_wait, shown, looks)
            learnt = _Learnt(size, None)
        if not seen.work.readable:
            # What was known of what waits is not forgotten, and no look is due for it.
            return memory._replace(target_wait=memory.target_wait._replace(due_at=math.inf)), learnt
        ended = completions is not None and completions.total > memory.completions.total
        memory = memory._replace(
            ended_at=at if ended else memory.ended_at,
            target_wait=target_wait,
            completions=completions or memory.completions,
            starts=starts,
            stalled_since=None
            if memory.fetched.passing
            else stalled_since(memory.stalled_since, seen.work, memory.completions, completions, at),
        )
        return memory, learnt

    def _recommend(
        self, memory: GroupState, seen: _Seen, at: float
    ) -> tuple[GroupState, Recommendation, Needs | None]:
        """What the load asks for, kept in the window; the current size where the work is not known."""
        work, current_total = seen.work, seen.current_total
        needs = highest = None
        if seen.fleet is not None:
            tasks = own_tasks(seen.fleet)
            needs = needs_of_load(seen.fleet, tasks)
            highest = high_load(seen.fleet, tasks, needs, work)
        watch, found = thresholds(self.policy, memory.watch, work, at, highest)
        if not work.readable or (work.unknown and found.reason is Reason.STEADY):
            unknown = Recommendation(
                processes=current_total, reason=work.unknown or Reason.STALE, before_delays=current_total
            )
            return memory._replace(watch=watch), unknown, needs
        if found.reason in {Reason.STEADY, Reason.DELAYED}:
            found = found._replace(processes=current_total)
        # A fresh start has recommended what it found.
        window = memory.window or ((at, current_total),)
        if work.complete:
            window = keep(window, (at, found.before_delays), self.policy.stabilization_seconds)
        return memory._replace(watch=watch, window=window), found, needs

    def _decide_workers(
        self,
        seen: _Seen,
        trail: Trail,
        observation: Observation,
        limits: _Limits,
    ) -> tuple[list[Constraints], tuple[Share, ...], list[Decision]]:
        """The constraints on each member, its share of the recommendation and the decision for it."""
        override = observation.override
        idle = seen.work.complete and seen.work.tasks == 0 == seen.work.waiting
        steps, may_shrink = self._steps, idle or self.quiesces
        constraints = [
            constrain(
                self.policy,
                override,
                member,
                observation.at,
                steps=steps,
                may_shrink=may_shrink,
                record=limits.records.get(member.reading.name),
                part=limits.parts.get(member.reading.name),
            )
            for member in seen.members
        ]
        held = [self._held(member, override) for member in seen.members]
        stay = [number for number, member in enumerate(seen.members) if member.reading.name in limits.fixed]
        desired = Desired(trail.cooled, trail.needs, seen.fleet, seen.current_total)
        shares, found = shared_out(desired, constraints, stay)
        held_by = self._held_by(observation)
        decisions = [
            gate(member, one, decision, held_by or why)
            for member, one, decision, why in zip(seen.members, constraints, found, held, strict=True)
        ]
        return constraints, tuple(shares), decisions

    def _held(self, member: KnownWorker, override: Override) -> Reason | None:
        """What prevents an action on this worker alone."""
        if member.reading.name in override.held_workers:
            return Reason.HELD
        return Reason.YIELDING if yields_to(member.reading, self.name, member.rivals) else None

    @property
    def _patience(self) -> float:
        return peers.patience(self.policy, self.interval_seconds, has_delays=self.target_wait is None)

    @property
    def _steps(self) -> tuple[int, int]:
        # Steps approach a size bit by bit; the target wait has computed it.
        if self.target_wait is not None:
            return MAX_PROCESSES, MAX_PROCESSES
        return self.policy.max_step_up, self.policy.max_step_down

    def _held_by(self, observation: Observation) -> Reason | None:
        """What prevents every action, on whichever worker."""
        conditions = (
            (self.mode is Mode.DISABLED, Reason.DISABLED),
            (self.mode is Mode.DRY_RUN, Reason.DRY_RUN),
            (observation.override.paused, Reason.PAUSED),
            (not observation.leader, Reason.NOT_LEADER),
        )
        return next((reason for holds, reason in conditions if holds), None)
