"""Reports a tick: status and events in Redis, and a log line for each change of what a person should know.

Metrics take in the same record. Nothing here decides or sends anything to a worker.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from autoscaler.broker import keys as contract
from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import Keys
from autoscaler.core.model import Reason
from autoscaler.daemon.faults import FAULTS, described
from autoscaler.report.observed import Subject, is_observed
from autoscaler.report.status import outcome_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis import Redis
    from structlog.typing import FilteringBoundLogger

    from autoscaler.core.model import Decision
    from autoscaler.daemon.timing import Timing
    from autoscaler.report.status import TickRecord

#: Up to so many subjects that change alike in one tick have a line each; more have one line together.
_MAX_SINGLE_LINES = 3
_MAX_NAMES = 10
#: What a state estimates is "about" a number.
_ESTIMATE = re.compile(r"(?<=\babout )\d+(?:\.\d+)?")
#: An estimate that differs by no more than this share, or by no more than the rounding to whole numbers, is
#: the same to a person.
_SAME_SHARE, _ROUNDING = 0.25, 1.0


class ConditionLog:
    """Logs each condition when it begins, changes, or is over: nothing for a tick that changes nothing.

    A state whose estimates alone have moved is the same, until they are far from those that were logged.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._known: dict[Subject, str] = {}

    def update(self, found: Mapping[Subject, str], observed: Callable[[Subject], bool | None]) -> None:
        """Take in the conditions of one tick.

        ``observed`` says of a subject without a condition whether it was looked at: True where it is over,
        False where nobody knows this time, None where it is not looked at any more.
        """
        known = dict(found)
        lines: dict[tuple[str, str, str | None], list[str]] = defaultdict(list)
        for subject in sorted(found.keys() | self._known.keys()):
            state, before = found.get(subject), self._known.get(subject)
            if before is not None and state is not None and _is_same(before, state):
                known[subject] = before  # what was logged: an estimate that creeps is logged in the end
                continue
            kind, name = subject
            if state is not None:
                lines["condition", kind, state].append(name)
                continue
            looked_at = observed(subject)
            if looked_at is False and before is not None:
                known[subject] = before
            else:
                event = "condition.cleared" if looked_at else "condition.dropped"
                lines[event, kind, None].append(name)
        self._known = known
        for (event, kind, state), names in lines.items():
            self._write(event, kind, state, names)

    def _write(self, event: str, kind: str, state: str | None, names: list[str]) -> None:
        write = self._log.info if state is None else self._log.warning
        fields = {} if state is None else {"state": state}
        if len(names) > _MAX_SINGLE_LINES:
            write(event, subject=kind, names=names[:_MAX_NAMES], count=len(names), **fields)
            return
        for name in names:
            write(event, subject=kind, name=name, **fields)


def _is_same(before: str, state: str) -> bool:
    """Whether a person who has read the state before knows this one."""
    if before == state:
        return True
    if _ESTIMATE.sub("", before) != _ESTIMATE.sub("", state):
        return False
    pairs = zip(map(float, _ESTIMATE.findall(before)), map(float, _ESTIMATE.findall(state)), strict=True)
    return all(abs(now - then) <= max(_ROUNDING, _SAME_SHARE * then) for then, now in pairs)


class DryRunLog:
    """Logs each resize that a dry run leaves out, when it changes: nothing for one that stays the same.

    ``resizes`` is the number of those lines.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._known: dict[str, tuple[int | None, int | None]] = {}
        self.resizes = 0

    def update(self, decisions: Iterable[Decision]) -> list[Decision]:
        """Log what one tick would have changed; returns the decisions that were logged."""
        left_out = {one.worker: one for one in decisions if one.reason is Reason.DRY_RUN}
        changed = [
            decision
            for worker, decision in left_out.items()
            if self._known.get(worker) != (decision.current, decision.desired)
        ]
        self._known = {worker: (one.current, one.desired) for worker, one in left_out.items()}
        self.resizes += len(changed)
        for decision in changed:
            self._log.info(
                "pool.would_resize",
                worker=decision.worker,
                before=decision.current,
                target=decision.desired,
                reason=decision.desired_reason,
            )
        return changed


class Publisher:
    """Stores the status of the autoscaler called ``name``, and keeps it from expiring during a slow tick.

    ``clean`` takes secrets out of values.
    """

    def __init__(
        self,
        name: str,
        redis: Callable[[], Redis],
        timing: Timing,
        *,
        log: FilteringBoundLogger,
        clean: Callable[[Any], Any],
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self._redis = redis
        self._timing = timing
        self._conditions = ConditionLog(log)
        self._clean = clean
        self._monotonic = monotonic
        self._fault: str | None = None
        self._expiry_seconds = 0.0
        self._refreshed_at: float | None = None

    def publish(self, record: TickRecord, status: Callable[[], str]) -> None:
        """Log what changed, and store the status and the tick's events where this autoscaler acts.

        ``status`` is asked for the status where it is stored: that of a large fleet takes a while.
        """
        found = dict(record.conditions)
        publishes = "backlog" not in record.faults and record.observation.leader
        if publishes:
            self._store(record, status())
        else:
            # What is stored is old, or another's: it must expire unless somebody stores it anew.
            self._refreshed_at = None
            if "backlog" not in record.faults:
                self._fault = None
        if self._fault is not None:
            found["publish", self._name] = self._fault
        self._conditions.update(found, lambda subject: is_observed(subject, record))

    def keep_alive(self) -> None:
        """Let the stored status last on: within a tick that takes long, once a third of its time is over."""
        now = self._monotonic()
        if self._refreshed_at is None or now - self._refreshed_at < self._expiry_seconds / 3:
            return
        self._refreshed_at = now
        try:
            with broker_errors():
                self._redis().pexpire(Keys(name=self._name).status, int(self._expiry_seconds * 1000))
        except FAULTS as fault:
            self._fault = described(fault)

    def _store(self, record: TickRecord, status: str) -> None:
        reasons = {decision.worker: str(decision.reason) for decision in record.plan.decisions}
        events = [
            {"at": record.wall_time, "reason": reasons.get(outcome.worker), **outcome_fields(outcome)}
            for outcome in record.outcomes
        ]
        self._expiry_seconds = self._timing.status_seconds(record.seconds)
        try:
            contract.publish(
                self._redis(),
                self._name,
                status,
                self._clean(events),
                expiry_seconds=self._expiry_seconds,
            )
        except FAULTS as fault:
            self._fault, self._refreshed_at = described(fault), None
        else:
            self._fault, self._refreshed_at = None, self._monotonic()
