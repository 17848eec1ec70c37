"""Readings with the plain case filled in, so that a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.core.decider import Decider, Mode, Plan
from autoscaler.core.groups import Scope
from autoscaler.core.model import (
    ContainerReading,
    Decision,
    Observation,
    Override,
    QueueReading,
    Reason,
    WorkerReading,
)
from autoscaler.core.policy import Policy
from autoscaler.core.state import State

MIB = 1024 * 1024


def worker(name: str = "celery@one", processes: int | None = 4, **fields: object) -> WorkerReading:
    """A prefork worker with the companion, idle, on the queue ``celery``, up for an hour."""
    plain: dict[str, object] = {
        "busy": 0,
        "reserved": 0,
        "scheduled": 0,
        "completed": 0,
        "uptime_seconds": 3600.0,
        "queues": ("celery",),
        "companion": True,
    }
    return WorkerReading(name=name, processes=processes, **{**plain, **fields})  # type: ignore[arg-type]


def queue(waiting: int | None = 0, name: str = "celery") -> QueueReading:
    return QueueReading(name=name, waiting=waiting)


def container(**fields: object) -> ContainerReading:
    return ContainerReading(**fields)  # type: ignore[arg-type]


def prompt_policy(**parameters: object) -> Policy:
    """A policy without any delay, so that one tick shows one step."""
    plain: dict[str, object] = {
        "max_processes": 10,
        "scale_up_delay_seconds": 0,
        "scale_down_delay_seconds": 0,
        "stabilization_seconds": 0,
        "scale_up_cooldown_seconds": 0,
        "scale_down_cooldown_seconds": 0,
        "max_step_up": 10_000,
        "max_step_down": 10_000,
    }
    return Policy(**{**plain, **parameters})  # type: ignore[arg-type]


def look(
    waiting: int | None = 0,
    *workers: WorkerReading,
    at: float = 1000.0,
    override: Override | None = None,
    leader: bool = True,
    queues: tuple[QueueReading, ...] | None = None,
) -> Observation:
    """One observation of the queue ``celery`` and these workers (one plain worker where none is given)."""
    return Observation(
        at=at,
        queues=(queue(waiting),) if queues is None else queues,
        workers=workers or (worker(),),
        override=override or Override(),
        leader=leader,
    )


def decide(
    observation: Observation,
    *,
    policy: Policy | None = None,
    scope: Scope | None = None,
    mode: Mode = Mode.ACT,
    state: State | None = None,
) -> tuple[Decision, ...]:
    """The decisions of one tick."""
    decider = Decider(policy=policy or prompt_policy(), scope=scope or Scope(), mode=mode)
    return decider.decide(state or State(), observation)[1].decisions


def decision(
    current: int | None, wanted: int | None, cause: Reason, name: str = "celery@one", **held: object
) -> Decision:
    """A decision, by default one whose hand nothing holds; ``held`` gives another target and reason."""
    plain = Decision(worker=name, current=current, wanted=wanted, cause=cause, target=wanted, reason=cause)
    return replace(plain, **held)  # type: ignore[arg-type]


class Walk:
    """A decider over time: each ``see`` is one tick, ``seconds`` after the last one."""

    def __init__(self, policy: Policy, *, scope: Scope | None = None, **decider: object) -> None:
        self.decider = Decider(policy=policy, scope=scope or Scope(), **decider)  # type: ignore[arg-type]
        self.state = State()
        self.at = 1000.0
        self.tick = 0

    def see(
        self,
        waiting: int | None,
        *workers: WorkerReading,
        after: float = 1.0,
        queues: tuple[QueueReading, ...] | None = None,
    ) -> Plan:
        self.at += after
        self.tick += 1
        seen = look(waiting, *workers, at=self.at, queues=queues)
        self.state, plan = self.decider.decide(self.state, seen)
        return plan

    def sent(self, target: int, *, confirmed: bool = True, name: str = "celery@one") -> None:
        self.state = self.state.acted(name, target=target, at=self.at, confirmed=confirmed)
