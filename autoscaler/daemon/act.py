"""Acts: sends the resizes of a plan and collects what came of them.

All resizes of a tick go out together and share one deadline, so that a worker that hangs costs the others
nothing. Nothing is sent on an observation that has grown old in the meantime, for instance while this process
was stopped, and nothing once the daemon is to stop. What goes wrong with one worker leaves the others alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from autoscaler.control.resize import ResizeRequest
from autoscaler.core.decider import Mode
from autoscaler.core.model import Action, Outcome, Result
from autoscaler.daemon.faults import FAULTS, described
from autoscaler.report.status import outcome_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from autoscaler.control.consumers import Cancellation
    from autoscaler.core.model import Decision, Observation, Override, Reason, WorkerReading
    from autoscaler.core.plan import Plan
    from autoscaler.daemon.timing import Timing
    from autoscaler.report.metrics import Metrics


#: A log line names so many workers at most.
_MAX_NAMES = 10


class Resizer(Protocol):
    """Resizes workers; times are monotonic seconds."""

    def resize(self, requests: Sequence[ResizeRequest], now: float) -> list[Outcome]:
        """Resize workers, or begin with it: an outcome for each request."""

    def advance(
        self,
        readings: Mapping[str, WorkerReading],
        left_alone: Callable[[str], bool],
        *,
        since: float,
        now: float,
    ) -> list[Outcome]:
        """Go on with what takes more than one tick, by what was read no earlier than ``since``.

        ``left_alone`` says of a worker whether an administrator wants nothing done with it.
        """

    def restore_orphans(self, readings: Mapping[str, WorkerReading], now: float) -> Sequence[Cancellation]:
        """Restore the consumers that an earlier run has left cancelled; those restored."""

    def restore_lost(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool]
    ) -> Sequence[Cancellation]:
        """Restore again those that it had restored and a reconnect has lost; those restored.

        ``left_alone`` says of a worker whether an administrator wants nothing done with it.
        """

    @property
    def cancelled(self) -> frozenset[str]:
        """The workers whose consumers are cancelled on purpose and will be restored."""

    def close(self) -> None:
        """Restore the consumers that are cancelled now."""


class Actor:
    """Carries plans out through ``resizer`` in one mode.

    ``progress`` is called after the resizes, for a tick may take its time.
    """

    def __init__(
        self,
        resizer: Resizer,
        mode: Mode,
        timing: Timing,
        *,
        metrics: Metrics,
        log: FilteringBoundLogger,
        monotonic: Callable[[], float],
        progress: Callable[[], None],
    ) -> None:
        self._resizer = resizer
        self._mode = mode
        self._timing = timing
        self._metrics = metrics
        self._log = log
        self._monotonic = monotonic
        self._progress = progress
        #: What was sent for the last plan, in the order of sending: also where acting on it ended early.
        self.outcomes: list[Outcome] = []
        #: What failed beside that, by step.
        self.faults: dict[str, str] = {}

    def act(self, plan: Plan, observation: Observation, stopped: Callable[[], bool] = lambda: False) -> None:
        """Send what is due."""
        self.outcomes, self.faults = [], {}
        readings = {reading.name: reading for reading in observation.workers}
        if observation.leader and not stopped():
            left_alone = _left_alone(observation.override)
            if readings:
                # In every mode: nobody wants a worker that consumes nothing.
                self._guard("restore", lambda: self._restore_orphans(readings))
                self._guard("restore", lambda: self._restore_lost(readings, left_alone))
            if self._mode is Mode.ACT:
                self._guard("advance", lambda: self._advance(readings, left_alone, observation.at))
        due = [decision for decision in plan.decisions if decision.action is not Action.HOLD]
        if not due or stopped():
            return
        if self._is_old(observation.at):
            self._expire(due, self._monotonic() - observation.at)
            return
        self._resize([(decision, readings[decision.worker]) for decision in due])
        self._progress()

    @property
    def cancelled(self) -> frozenset[str]:
        """The workers whose consumers are cancelled on purpose and will be restored."""
        return self._resizer.cancelled

    def close(self) -> None:
        """Restore what is cancelled now."""
        self._guard("close", self._resizer.close)

    def _restore_orphans(self, readings: Mapping[str, WorkerReading]) -> None:
        restored = self._resizer.restore_orphans(readings, self._monotonic())
        self._log_restored(restored, "left cancelled by a run that ended")

    def _restore_lost(self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool]) -> None:
        restored = self._resizer.restore_lost(readings, left_alone)
        self._log_restored(restored, "lost, as by a reconnect of the worker")

    def _log_restored(self, restored: Sequence[Cancellation], why: str) -> None:
        for one in restored:
            self._log.warning("consumers.restored", worker=one.worker, queues=list(one.queues), why=why)

    def _is_old(self, at: float) -> bool:
        return self._monotonic() - at > self._timing.fresh_seconds

    def _advance(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool], at: float
    ) -> None:
        # By old readings nothing is shrunk; what is past its deadline gets its consumers back all the same.
        known = {} if self._is_old(at) else readings
        for outcome in self._resizer.advance(known, left_alone, since=at, now=self._monotonic()):
            self._take(outcome, reason=None)

    def _resize(self, due: Sequence[tuple[Decision, WorkerReading]]) -> None:
        """Send all that is due in one go, and take each outcome."""
        started = self._monotonic()
        requests = [
            ResizeRequest(reading=reading, target=decision.target)
            for decision, reading in due
            if decision.target is not None  # for the type checker: an action has a target
        ]
        try:
            outcomes = self._resizer.resize(requests, started)
        except Exception as fault:  # noqa: BLE001 - whatever it is, any of them may have been sent
            self._report(fault, "resize", workers=[request.reading.name for request in requests[:_MAX_NAMES]])
            outcomes = [_unknown(request, fault) for request in requests]
        seconds = self._monotonic() - started
        for (decision, _), outcome in zip(due, outcomes, strict=True):
            self._metrics.observe_action(seconds)
            self._take(outcome, reason=decision.reason)

    def _take(self, outcome: Outcome, *, reason: Reason | None) -> None:
        """Keep the outcome with the time at which it was known, and log it."""
        self.outcomes.append(replace(outcome, sent_at=self._monotonic()))
        event = "pool.resized" if outcome.result is Result.DONE else f"pool.resize_{outcome.result}"
        self._log.info(event, reason=reason, **outcome_fields(outcome))

    def _expire(self, decisions: list[Decision], age: float) -> None:
        """Say that actions are dropped, for what they were decided on has grown old."""
        self._metrics.plan_expired(len(decisions))
        self._log.warning(
            "plan.expired",
            age_seconds=round(age, 3),
            allowed_seconds=self._timing.fresh_seconds,
            workers=[decision.worker for decision in decisions[:_MAX_NAMES]],
            count=len(decisions),
        )

    def _guard(self, what: str, run: Callable[[], object]) -> None:
        """Run one step; what it raises is a fault of this step and not of the tick."""
        try:
            run()
        except FAULTS as fault:
            self.faults[what] = described(fault)
        except Exception as fault:  # noqa: BLE001 - one step that fails must not keep the others from running
            self.faults[what] = described(fault)
            self._report(fault, what)

    def _report(self, fault: Exception, step: str, **names: object) -> None:
        self._metrics.unexpected_error(step)
        self._log.error("action.crashed", step=step, exc_info=fault, **names)


def _left_alone(override: Override) -> Callable[[str], bool]:
    """Whether an administrator wants nothing done with a worker, by its name."""
    return lambda worker: override.paused or worker in override.held_workers


def _unknown(request: ResizeRequest, fault: Exception) -> Outcome:
    return Outcome(
        worker=request.reading.name,
        before=request.reading.processes,
        target=request.target,
        command="resize",
        result=Result.UNKNOWN,
        detail=described(fault),
    )
