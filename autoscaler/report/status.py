"""One tick as others are told of it: what was seen, decided and done.

:func:`status` is the one JSON view of it, on ``/status``, in Redis and from ``autoscaler once --json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.core import capacity
from autoscaler.core.decider import Mode
from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.decider import Plan
    from autoscaler.core.model import ContainerReading, Observation, Outcome, WorkerReading
    from autoscaler.core.policy import Policy


#: Reasons that a person should hear of; the others come and go with the load.
_TOLD = frozenset(
    {
        Reason.CPU_PRESSURE,
        Reason.MEMORY_PRESSURE,
        Reason.UNKNOWN_LIMIT,
        Reason.UNKNOWN_SIZE,
        Reason.STALE,
        Reason.PAUSED,
        Reason.HELD,
        Reason.NOT_LEADER,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRecord:
    """One tick. ``faults`` has the error of each sensor that failed; ``seconds`` is how long it took.

    ``workers`` are those last read, by name: of one that keeps silent the last reading.
    """

    observation: Observation
    plan: Plan
    workers: Mapping[str, WorkerReading]
    outcomes: tuple[Outcome, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    unresponsive: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    wall_time: float = 0.0
    seconds: float = 0.0


def limits(policy: Policy, container: ContainerReading | None) -> dict[str, int]:
    """The bounds on a worker's size by their names: ``min``, ``max``, ``cpu``, ``memory``."""
    found = {"min": policy.min_processes}
    automatic = capacity.automatic_max(policy, container)
    if policy.max_processes is not None:
        found["max"] = policy.max_processes
    elif automatic is not None:
        found["max"] = automatic.processes
    if container is not None:
        if container.cpu_limited and container.cpu_limit_cores is not None:
            found["cpu"] = capacity.cpu_processes(container.cpu_limit_cores, policy.processes_per_core)
        memory = capacity.memory_processes(container, headroom=policy.memory_headroom)
        if container.memory_limited and memory is not None:
            found["memory"] = memory
    return found


def status(record: TickRecord, policy: Policy) -> dict[str, Any]:
    """The JSON view of a tick. Unknown values are null."""
    observation, plan = record.observation, record.plan
    override = observation.override
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
        "queues": [
            {
                "queue": queue.name,
                "waiting": queue.waiting,
                "oldest_age_seconds": queue.oldest_age_seconds,
                "error": queue.error,
            }
            for queue in observation.queues
        ],
        "groups": [
            {
                "queues": list(group.group.queues),
                "workers": list(group.group.workers),
                "waiting": group.work.waiting,
                "reserved": group.work.reserved,
                "running": group.work.running,
                "processes": group.work.processes,
                "complete": group.work.complete,
                "asked": group.asked,
                "wish": group.wish,
                "reason": group.reason,
                "service_seconds": group.service_seconds,
                "arrivals_per_second": group.arrivals_per_second,
                "shadow_wish": group.shadow_wish,
                "cooldown_up_seconds": round(group.up_cooldown_seconds, 3),
                "cooldown_down_seconds": round(group.down_cooldown_seconds, 3),
            }
            for group in plan.groups
        ],
        "workers": [_worker(record.workers[name], policy) for name in sorted(record.workers)],
        "decisions": [
            {
                "worker": decision.worker,
                "action": decision.action,
                "current": decision.current,
                "wanted": decision.wanted,
                "cause": decision.cause,
                "target": decision.target,
                "reason": decision.reason,
            }
            for decision in plan.decisions
        ],
        "outcomes": [outcome_fields(outcome) for outcome in record.outcomes],
        "silent": list(record.unresponsive),
        "doubled": list(record.duplicates),
        "faults": dict(record.faults),
        "tick_seconds": round(record.seconds, 4),
    }


def conditions(record: TickRecord, mode: Mode) -> dict[tuple[str, str], str]:
    """What a person should know beyond the sizes: a state for each (kind, name), gone when it is over."""
    found = {("sensor", sensor): fault for sensor, fault in record.faults.items()}
    if "backlog" not in record.faults:
        found |= {("queue", queue.name): queue.error for queue in record.observation.queues if queue.error}
    for name in record.duplicates:
        found["name", name] = "two workers answer to it; give each worker a name of its own"
    for decision in record.plan.decisions:
        reading = record.workers.get(decision.worker)
        if reading is not None and not reading.companion:
            found["worker", reading.name] = f"it shrinks {shrinking(reading)}"
        if mode is Mode.ACT and decision.reason in _TOLD:
            found["decision", decision.worker] = str(decision.reason)
    return found


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
    """How a worker may shrink, in a few words."""
    if reading.unsupported:
        return f"not at all: {reading.unsupported}"
    if reading.companion:
        return "at any time (companion)"
    why = reading.companion_refusal or "it does not load autoscaler.companion"
    return f"only while idle: {why}"


def _worker(reading: WorkerReading, policy: Policy) -> dict[str, Any]:
    container = reading.container
    return {
        "worker": reading.name,
        "pool": reading.pool,
        "processes": reading.processes,
        "retiring": reading.retiring,
        "busy": reading.busy,
        "reserved": reading.reserved,
        "scheduled": reading.scheduled,
        "completed": reading.completed,
        "uptime_seconds": reading.uptime_seconds,
        "prefetch": reading.prefetch,
        "start_seconds": reading.start_seconds,
        "queues": list(reading.queues),
        "companion": reading.companion,
        "shrinks": shrinking(reading),
        "limits": limits(policy, container),
        "container": None
        if container is None
        else {
            "cpu_limit_cores": container.cpu_limit_cores,
            "cpu_usage_ratio": container.cpu_usage_ratio,
            "cpu_throttled_ratio": container.cpu_throttled_ratio,
            "memory_limit_bytes": container.memory_limit_bytes,
            "memory_used_bytes": container.memory_used_bytes,
        },
    }
