"""One tick as it is reported: what was seen, decided and done, and what a person should know of it.

:func:`status` is the one JSON view of it, on ``/status``, in Redis and from ``autoscaler once --json``. It
repeats what the decision carries and computes no bound again. Keys that were renamed stay beside their new
names, for whoever reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autoscaler.core import capacity
from autoscaler.core.decider import Mode
from autoscaler.core.measure import waiting_for
from autoscaler.core.model import Reason
from autoscaler.report import ceiling, deployment
from autoscaler.report.container import container_view, memory_view
from autoscaler.report.in_force import override_conditions
from autoscaler.report.observed import Subject, deployment_is_read, lease_is_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.core.demand.fleet import Share
    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import (
        Bounds,
        ContainerReading,
        Decision,
        Observation,
        Outcome,
        QueueReading,
        WorkerReading,
    )
    from autoscaler.core.plan import GroupPlan, Plan
    from autoscaler.core.policy import Policy
    from autoscaler.core.rivals import Rival
    from autoscaler.report.waits import Wait

#: Kinds of conditions that concern what a worker or a sensor itself reports.
_OWN_KINDS = ("sensor", "queue", "name", "mailbox", "replies", "worker", "memory", "decision", "override")
#: Every kind of condition that a tick can have: the label of ``celery_autoscaler_condition``.
CONDITION_KINDS = (
    *_OWN_KINDS,
    deployment.RIVAL,
    deployment.FOREIGN_RESIZE,
    deployment.NOT_CONSUMING,
    deployment.CLOCK,
    deployment.PEER_WITHOUT_GROWTH,
    ceiling.KIND,
    ceiling.OUT_OF_REACH,
    ceiling.TOO_SHORT,
    *deployment.OF_READINGS,
    deployment.UNRESPONSIVE,
    *deployment.KINDS,
)
#: Reasons that a person should hear of; the others come and go with the load.
_CONDITIONS = frozenset(
    {
        Reason.CPU_PRESSURE,
        Reason.MEMORY_PRESSURE,
        Reason.MEMORY_BREACH,
        Reason.UNKNOWN_LIMIT,
        Reason.UNKNOWN_SIZE,
        Reason.STALE,
        Reason.REFUSED,
        Reason.PAUSED,
        Reason.HELD,
        Reason.NOT_LEADER,
        Reason.YIELDING,
    }
)


@dataclass(frozen=True, kw_only=True)  # without slots: what follows from a tick is worked out once
class TickRecord:
    """One tick. ``faults`` has the error of each sensor that failed; ``seconds`` is how long it took.

    ``workers`` are the last readings by name, also of workers that did not answer this time; ``unresponsive``
    are the workers that were asked in vain, ``left`` those of them without a mailbox (ended or reconnecting),
    ``duplicates`` the names that more than one worker answers to.
    ``memory`` is what is remembered of each worker's memory, by name; ``waits`` is how long tasks wait.
    ``name`` is the autoscaler's own and ``mode`` whether it acts. ``foreign_resizes`` are workers that
    somebody else has resized lately, ``rivals`` what is remembered of who did, by worker,
    ``without_consumers`` those that answer and have consumed nothing for long.
    ``expected_workers`` and ``expected_queues`` are what the settings name.
    """

    observation: Observation
    plan: Plan
    workers: Mapping[str, WorkerReading]
    outcomes: tuple[Outcome, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    unresponsive: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, MemoryRecord] = field(default_factory=dict)
    waits: tuple[Wait, ...] = ()
    name: str = ""
    mode: Mode = Mode.ACT
    foreign_resizes: tuple[str, ...] = ()
    without_consumers: tuple[str, ...] = ()
    rivals: Mapping[str, Mapping[str, Rival]] = field(default_factory=dict)
    expected_workers: frozenset[str] = frozenset()
    expected_queues: frozenset[str] = frozenset()
    wall_time: float = 0.0
    seconds: float = 0.0

    @cached_property
    def answered(self) -> frozenset[str]:
        """The workers that answered, by name."""
        return frozenset(reading.name for reading in self.observation.workers)

    @cached_property
    def looked_up(self) -> frozenset[str]:
        """The queues that were looked at, by name."""
        return frozenset(queue.name for queue in self.observation.queues)

    @cached_property
    def missed(self) -> frozenset[str]:
        """The workers that were asked in vain and have a mailbox."""
        return frozenset(self.unresponsive) - frozenset(self.left)

    @cached_property
    def conditions(self) -> Mapping[Subject, str]:
        """What a person should know of it, as :func:`conditions`."""
        return conditions(self, self.mode)


def limits(policy: Policy, container: ContainerReading | None) -> dict[str, int]:
    """The bounds on a worker's size by their names, before any decision and without an override."""
    return capacity.unlearnt_bounds(policy, container).by_name()


def applied_bounds(plan: Plan) -> dict[str, Bounds]:
    """The bounds that the decisions of a plan were made within, by worker, those of peers too."""
    return {one.worker: one.bounds for one in (*plan.decisions, *plan.peers) if one.bounds is not None}


def status(record: TickRecord) -> dict[str, Any]:
    """The JSON view of a tick. Unknown values are null."""
    observation, plan = record.observation, record.plan
    override, bounds = observation.override, applied_bounds(plan)
    shares = {share.worker: share for group in plan.groups for share in group.shares}
    queues = {queue.name: queue for queue in observation.queues}
    return {
        "at": record.wall_time,
        "leader": observation.leader,
        "override": {
            "paused": override.paused,
            "min": override.min_processes,
            "max": override.max_processes,
            "held": sorted(override.held_workers),
            "by": override.by,
            "why": override.why,
        },
        "queues": [_queue(queue) for queue in observation.queues],
        "groups": [_group(group) for group in plan.groups],
        "waits": [_wait(wait) for wait in record.waits],
        "workers": [
            _worker(record, name, bounds.get(name), shares.get(name), queues)
            for name in sorted(record.workers)
        ],
        "decisions": [_decision(decision) for decision in plan.decisions],
        "outcomes": [outcome_fields(outcome) for outcome in record.outcomes],
        "unresponsive": list(record.unresponsive),
        "silent": list(record.unresponsive),
        "duplicates": list(record.duplicates),
        "doubled": list(record.duplicates),
        "unregistered": list(record.unregistered),
        "unreadable": dict(record.unreadable),
        "faults": dict(record.faults),
        "tick_seconds": round(record.seconds, 4),
    }


def conditions(record: TickRecord, mode: Mode) -> dict[Subject, str]:
    """What a person should know beyond the sizes: a state for each (kind, name), gone when it is over."""
    found = {("sensor", sensor): fault for sensor, fault in record.faults.items()}
    found |= override_conditions(record.observation.override)
    if not record.observation.leader and lease_is_read(record):
        found["lease", "standby"] = (
            "another daemon with this --name acts; this one takes over when it is gone"
        )
    if "backlog" not in record.faults:
        found |= {("queue", queue.name): queue.error for queue in record.observation.queues if queue.error}
    for name in record.duplicates:
        found["name", name] = "two workers answer to it; give each worker a name of its own"
    for name in record.unregistered if "mailboxes" not in record.faults else ():
        found["mailbox", name] = "it answers and has no mailbox in Redis: other tools do not see it"
    for name, content_type in record.unreadable.items():
        found["replies", name] = f"{content_type} is not read; set task_serializer='json' there"
    told = _CONDITIONS if lease_is_read(record) else _CONDITIONS - {Reason.NOT_LEADER}
    for decision in record.plan.decisions:
        reading = record.workers.get(decision.worker)
        if reading is not None and not reading.companion:
            found["worker", reading.name] = reading.unsupported or f"it shrinks {shrinking(reading)}"
        memory = record.memory.get(decision.worker)
        if memory is not None and (memory.kills or memory.breach):
            found["memory", decision.worker] = _breach_text(memory)
        if mode is Mode.ACT and decision.reason in told:
            found["decision", decision.worker] = str(decision.reason)
    return found | _of_the_deployment(record, mode)


def _of_the_deployment(record: TickRecord, mode: Mode) -> dict[Subject, str]:
    """Who else resizes the workers, which take no tasks, and what is expected and not there."""
    found = ceiling.at_ceiling(record.plan, record.observation.override)
    fixed = {name for name, reading in record.workers.items() if reading.unsupported}
    found |= ceiling.out_of_reach(record.plan, fixed) | ceiling.too_short(record.plan, fixed)
    found |= deployment.of_readings(record.observation.workers, record.observation.queues)
    found |= {
        (deployment.PEER_WITHOUT_GROWTH, name): deployment.PEER_STATE for name in record.plan.without_growth
    }
    hung = record.missed - record.unreadable.keys()
    found |= {(deployment.UNRESPONSIVE, name): deployment.UNRESPONSIVE_STATE for name in hung}
    for group in record.plan.groups:
        if group.blocked_by is Reason.NOT_CONSUMING:
            found |= dict.fromkeys(
                [(deployment.NOT_CONSUMING, name) for name in group.group.workers],
                deployment.NOT_CONSUMING_STATE,
            )
    if mode is Mode.ACT and record.name and record.observation.leader:
        touched = {decision.worker for decision in record.plan.decisions}
        mine = [reading for reading in record.observation.workers if reading.name in touched]
        found |= deployment.contested(mine, record.name, record.rivals)
        found |= {
            (deployment.NOT_CONSUMING, worker): deployment.NO_CONSUMER_STATE
            for worker in touched & set(record.without_consumers)
        }
        for worker in touched & set(record.foreign_resizes):
            if (deployment.RIVAL, worker) not in found:
                found[deployment.FOREIGN_RESIZE, worker] = deployment.FOREIGN_STATE
    if deployment_is_read(record):
        found |= deployment.missing(
            record.workers,
            record.observation.queues,
            expected_workers=record.expected_workers,
            expected_queues=record.expected_queues,
            resizing=[one.worker for one in record.plan.decisions if one.reason is Reason.OUTSTANDING],
        )
    return found


def condition_counts(record: TickRecord, held: Iterable[Subject]) -> dict[str, int | None]:
    """How many of the subjects each kind has, None for a kind without any that this tick could not see."""
    counts: dict[str, int | None] = dict.fromkeys(CONDITION_KINDS, 0)
    if not deployment_is_read(record):
        counts |= dict.fromkeys(deployment.KINDS, None)
    for kind, _ in held:
        counts[kind] = (counts.get(kind) or 0) + 1
    return counts


def _breach_text(memory: MemoryRecord) -> str:
    """What the OOM killer did, and what follows from it; the text changes with each kill."""
    kills = f"OOM kills: {memory.kills}" if memory.kills else "the memory limit was exceeded"
    if memory.breach is None:
        return kills
    held = f"{kills}; size at most {memory.breach.ceiling} for {memory.breach.hold_seconds:.0f} s"
    advice = "; raise the limit or hold less in tasks" if memory.breach.ceiling == 1 else ""
    return f"{held}{advice}"


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """One action as plain values."""
    return {
        "worker": outcome.worker,
        "command": outcome.command,
        "before": outcome.before,
        "target": outcome.target,
        "result": str(outcome.result),
        "detail": outcome.detail,
    }


def shrinking(reading: WorkerReading) -> str:
    """When a worker may shrink, in a few words."""
    if reading.unsupported:
        return f"not at all: {reading.unsupported}"
    if reading.companion:
        return "at any time (companion)"
    why = reading.companion_refusal or "it does not load autoscaler.companion"
    return f"only while idle: {why}"


def _queue(queue: QueueReading) -> dict[str, Any]:
    return {
        "queue": queue.name,
        "waiting": queue.waiting,
        "oldest_age_seconds": queue.oldest_age_seconds,
        "error": queue.error,
    }


def _group(plan: GroupPlan) -> dict[str, Any]:
    return {
        "queues": list(plan.group.queues),
        "workers": list(plan.group.workers),
        "waiting": plan.work.waiting,
        "expected_passing": plan.work.passing,
        "expected_discards": plan.work.passing,
        "reserved": plan.work.reserved,
        "running": plan.work.running,
        "processes": plan.work.processes,
        "complete": plan.work.complete,
        "recommended": plan.recommended,
        "asked": plan.recommended,
        "desired": plan.desired,
        "wish": plan.desired,
        "reason": plan.reason,
        "service_seconds": plan.service_seconds,
        "arrivals_per_second": plan.arrivals_per_second,
        "shadow_recommended": plan.shadow_recommended,
        "shadow_wish": plan.shadow_recommended,
        "blocked_by": plan.blocked_by,
        "needed_for_target": plan.needed,
        "shortest_target_seconds": plan.shortest_target_seconds,
        "cooldown_up_seconds": round(plan.up_cooldown_seconds, 3),
        "cooldown_down_seconds": round(plan.down_cooldown_seconds, 3),
    }


def _wait(wait: Wait) -> dict[str, Any]:
    return {
        "queues": wait.queues,
        "seconds": wait.seconds,
        "target_seconds": wait.target_seconds,
        "missed_seconds": wait.missed_seconds,
        "cause": wait.cause,
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "worker": decision.worker,
        "action": decision.action,
        "current": decision.current,
        "desired": decision.desired,
        "wanted": decision.desired,
        "desired_reason": decision.desired_reason,
        "cause": decision.desired_reason,
        "target": decision.target,
        "reason": decision.reason,
    }


def _worker(
    record: TickRecord,
    name: str,
    bounds: Bounds | None,
    share: Share | None,
    queues: Mapping[str, QueueReading],
) -> dict[str, Any]:
    reading, memory = record.workers[name], record.memory.get(name)
    return {
        "worker": reading.name,
        "pool": reading.pool,
        "processes": reading.processes,
        "retiring": reading.retiring,
        "busy": reading.busy,
        "reserved": reading.reserved,
        "scheduled": reading.scheduled,
        "completed": reading.completed,
        "rate_limited": reading.rate_limited,
        "discarded": reading.discarded,
        "consuming": reading.consuming,
        "uptime_seconds": reading.uptime_seconds,
        "prefetch": reading.prefetch,
        "start_seconds": reading.start_seconds,
        "queues": list(reading.queues),
        "waiting": waiting_for(reading, queues),
        "carries": {"own": share.own, "shared": share.shared} if share else None,
        "companion": reading.companion,
        "shrinks": shrinking(reading),
        "limits": {} if bounds is None else bounds.by_name(),
        "container": None if reading.container is None else container_view(reading.container),
        "memory": None if memory is None else memory_view(memory, record.observation.at),
    }
