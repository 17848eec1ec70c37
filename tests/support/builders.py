"""Readings with the plain case filled in, so that a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.core.decider import Decider, Mode, Plan
from autoscaler.core.groups import Scope
from autoscaler.core.model import (
    ContainerReading,
    Decision,
    Observation,
    Outcome,
    Override,
    QueueReading,
    Reason,
    Result,
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
    outcomes: tuple[Outcome, ...] = (),
) -> Observation:
    """One observation of the queue ``celery`` and these workers (one plain worker where none is given)."""
    return Observation(
        at=at,
        queues=(queue(waiting),) if queues is None else queues,
        workers=workers or (worker(),),
        override=override or Override(),
        leader=leader,
        outcomes=outcomes,
    )


def decide(
    observation: Observation,
    *,
    policy: Policy | None = None,
    scope: Scope | None = None,
    mode: Mode = Mode.ACT,
    state: State | None = None,
) -> tuple[Decision, ...]:
    """The decisions of one tick, without the bounds that were applied."""
    decider = Decider(policy=policy or prompt_policy(), scope=scope or Scope(), mode=mode)
    return without_bounds(decider.decide(state or State(), observation)[1]).decisions


def without_bounds(plan: Plan) -> Plan:
    """The plan with decisions that a row can state in one line; bounds have tests of their own."""
    return replace(plan, decisions=tuple(one._replace(bounds=None) for one in plan.decisions))


def decision(
    current: int | None, desired: int | None, why: Reason, name: str = "celery@one", **held: object
) -> Decision:
    """A decision, by default one that is carried out; ``held`` gives another target and reason."""
    plain = Decision(
        worker=name, current=current, desired=desired, desired_reason=why, target=desired, reason=why
    )
    return plain._replace(**held)  # type: ignore[arg-type]


def outcome(target: int, *, name: str = "celery@one", **fields: object) -> Outcome:
    """What came of a resize from 4 processes with the companion, by default done."""
    plain: dict[str, object] = {"before": 4, "command": "pool_resize", "result": Result.DONE}
    return Outcome(worker=name, target=target, **{**plain, **fields})  # type: ignore[arg-type]


class Walk:
    """A decider over time: each ``see`` is one tick, ``seconds`` after the last one."""

    def __init__(self, policy: Policy, *, scope: Scope | None = None, **decider: object) -> None:
        self.decider = Decider(policy=policy, scope=scope or Scope(), **decider)  # type: ignore[arg-type]
        self.state = State()
        self.at = 1000.0
        self.tick = 0
        self.outcomes: tuple[Outcome, ...] = ()

    def see(
        self,
        waiting: int | None,
        *workers: WorkerReading,
        after: float = 1.0,
        queues: tuple[QueueReading, ...] | None = None,
    ) -> Plan:
        self.at += after
        self.tick += 1
        seen = look(waiting, *workers, at=self.at, queues=queues, outcomes=self.outcomes)
        self.outcomes = ()
        self.state, plan = self.decider.decide(self.state, seen)
        return without_bounds(plan)

    def sent(self, target: int, *, result: Result = Result.DONE, name: str = "celery@one") -> None:
        """An action that was sent after the last tick: the next observation has its outcome."""
        self.outcomes += (outcome(target, name=name, result=result, sent_at=self.at),)
