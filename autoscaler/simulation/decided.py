"""The daemon's own decider as a scaler: :meth:`autoscaler.core.decider.Decider.decide`, tick by tick.

The pool is shown as one worker with the companion that consumes one queue. Everything that a daemon would
remember is carried from tick to tick, bounds, cooldowns and steps included. A resize is confirmed by the
companion: its outcome is in the next observation, as its size is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.core.model import Observation, Outcome, QueueReading, Result, WorkerReading
from autoscaler.core.state import State

if TYPE_CHECKING:
    from autoscaler.core.decider import Decider
    from autoscaler.simulation.engine import PoolView

WORKER = "worker@simulation"
QUEUE = "celery"


class DecidedScaler:
    """``decider``, asked every ``interval_seconds``, or sooner where its plan says that a decision is due.

    ``start_seconds`` is what the companion reports once a process that was asked for has become ready, and
    nothing before. The desired size is the target for the worker: bounded by the policy and not by the
    engine.
    """

    on_message = False

    def __init__(
        self, decider: Decider, *, name: str, start_seconds: float, interval_seconds: float = 1.0
    ) -> None:
        self.name = name
        self.interval_seconds = self._longest_seconds = interval_seconds
        self.initial_processes = decider.policy.min_processes
        self._decider = decider
        self._start_seconds = start_seconds
        self._first_growth_at: float | None = None
        self._state = State()
        self._outcomes: tuple[Outcome, ...] = ()

    def desired(self, view: PoolView) -> int:
        """Return the target for the worker after this tick."""
        self._state, plan = self._decider.decide(self._state, self._observe(view))
        self._outcomes = ()
        soonest = self._decider.min_interval_seconds
        if soonest is not None:
            self.interval_seconds = min(self._longest_seconds, max(soonest, plan.due_at - view.at))
        target = plan.decisions[0].target
        if target is None or target == view.size:
            return view.size
        done = Outcome(
            worker=WORKER,
            before=view.size,
            target=target,
            command="pool_resize",
            result=Result.DONE,
            sent_at=view.at,
        )
        self._outcomes = (done,)
        if self._first_growth_at is None and target > view.size:
            self._first_growth_at = view.at
        return target

    def _observe(self, view: PoolView) -> Observation:
        worker = WorkerReading(
            name=WORKER,
            processes=view.size,
            # No process is idle while one retires, so these are all that the size leaves out.
            retiring=max(0, view.busy + view.starting - view.size),
            busy=view.busy,
            reserved=view.reserved,
            scheduled=0,
            completed=view.completed,
            uptime_seconds=view.at,
            queues=(QUEUE,),
            companion=True,
            start_seconds=self._start_seconds_learnt(view.at),
        )
        queue = QueueReading(name=QUEUE, waiting=view.waiting, oldest_age_seconds=view.oldest_age_seconds)
        return Observation(at=view.at, queues=(queue,), workers=(worker,), outcomes=self._outcomes)

    def _start_seconds_learnt(self, at: float) -> float | None:
        grown_at = self._first_growth_at
        return None if grown_at is None or at < grown_at + self._start_seconds else self._start_seconds
