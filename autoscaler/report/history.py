"""What a daemon did and what it saw over the last 24 hours, in bounded memory.

Fed with the same record of a tick as status and metrics. The totals have a series, and so has each group of
workers where there is more than one; the actions and the conditions in force stand beside them. No I/O and no
clock; a lock lets pages and the store read while the loop writes. What is not known is a gap and never 0.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from autoscaler.core import capacity, foreign_json
from autoscaler.core.model import MEANINGS, Reason
from autoscaler.report.observed import Subject, in_force, is_observed, lease_is_read
from autoscaler.report.series import COLUMNS, OUTAGE, PAUSED, STANDBY, TIERS, Series, plain, row
from autoscaler.report.status import applied_bounds, outcome_fields
from autoscaler.report.summary import enough, percentile, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from autoscaler.core.model import Decision, QueueReading, WorkerReading
    from autoscaler.core.plan import GroupPlan
    from autoscaler.report.series import Row
    from autoscaler.report.status import TickRecord

MAX_ACTIONS = 500
#: Groups beyond these are in the totals only.
MAX_GROUPS = 10
TOTAL = ""
VERSION = 1
#: A group that is gone for so long makes room for another.
_FORGET_SECONDS = 600.0
#: How old the stored conditions may be for one that still holds to keep its beginning, and for how long one
#: that nobody has looked at since is remembered.
_SAME_CONDITION_SECONDS = 300.0
META = "meta"


class TargetWaits:
    """The target wait of each queue in seconds, None where ages are not read."""

    def __init__(self, default: float | None, by_queue: Mapping[str, float] | None = None) -> None:
        self.default = default
        self._by_queue = dict(by_queue or {})

    def of(self, queues: Iterable[str]) -> float | None:
        """The most urgent target of some queues."""
        if self.default is None:
            return None
        return min((self._by_queue.get(queue, self.default) for queue in queues), default=self.default)


class History:
    """The history of one daemon; times are epoch seconds.

    ``clean`` takes secrets out of values: nothing is kept before it.
    """

    def __init__(
        self, *, target_waits: TargetWaits, clean: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self._target_waits = target_waits
        self._clean = clean
        self._lock = Lock()
        self._series: dict[str, Series] = {TOTAL: Series()}
        self._groups: dict[str, dict[str, Any]] = {}
        self._gone: set[str] = set()
        self._samples_now: dict[str, Row] = {}
        self._actions: deque[dict[str, Any]] = deque(maxlen=MAX_ACTIONS)
        self._since: dict[Subject, float] = {}
        self._states: dict[Subject, str] = {}
        self._remembered: dict[Subject, float] = {}
        self._remembered_until = 0.0

    def take(self, record: TickRecord, *, hold_seconds: float) -> None:
        """Take in one tick; its sample holds for ``hold_seconds`` at most."""
        samples = self._rows(record)
        actions = self._clean(actions_of(record))
        with self._lock:
            self._samples_now = samples
            for key, sample in samples.items():
                self._series[key].take(record.wall_time, sample, hold_seconds=hold_seconds)
            self._actions.extend(actions)
            self._note(record.conditions, record)

    @property
    def target_wait_seconds(self) -> float | None:
        """The target wait, None where none is kept to."""
        return self._target_waits.default

    def samples(self) -> dict[str, list[float | int | None]]:
        """The values of the last tick by series, in the order of the columns."""
        with self._lock:
            found = self._samples_now
        return {key: [plain(value) for value in sample] for key, sample in found.items()}

    def last_action(self) -> dict[str, Any] | None:
        """The last action that changed a size, None where none is known."""
        with self._lock:
            return next((one for one in reversed(self._actions) if one["result"] == "done"), None)

    def wait_p95(self, span_seconds: float, now: float) -> float | None:
        """What the age of the oldest message did not exceed for 95 % of the time; None where not known."""
        with self._lock:
            ages, depths = (
                self._series[TOTAL].column(name, span_seconds, now) for name in ("age", "waiting")
            )
        return percentile(enough(ages, depths), 0.95)

    def conditions(self) -> list[dict[str, Any]]:
        """The conditions in force, the oldest first, each with when it began."""
        with self._lock:
            found = [
                {"kind": kind, "name": name, "state": self._states[kind, name], "since": since}
                for (kind, name), since in self._since.items()
            ]
        found = self._clean(found)
        return sorted(found, key=lambda one: (one["since"], one["kind"], one["name"]))

    def view(self, span_seconds: float, now: float, group: str = TOTAL) -> dict[str, Any] | None:
        """The last ``span_seconds`` as JSON values; None where there is no such group."""
        with self._lock:
            series = self._series.get(group)
            if series is None:
                return None
            window = series.window(span_seconds, now)
            actions = [one for one in self._actions if one["at"] >= now - span_seconds]
            groups = [{"id": key, **about} for key, about in self._groups.items()]
        target = self._target_waits.of(self._groups.get(group, {}).get("queues", ()))
        return {
            "at": now,
            "span_seconds": span_seconds,
            "group": group,
            "groups": groups,
            "target_wait_seconds": target,
            **window,
            "actions": actions,
            "conditions": self.conditions(),
            "summary": summary(window),
        }

    def _rows(self, record: TickRecord) -> dict[str, Row]:
        """The rows of this tick; makes room for the groups that it shows."""
        tick = _Tick(record, self._target_waits)
        found = {TOTAL: tick.total()}
        plans = record.plan.groups
        with self._lock:
            for plan in plans if len(plans) > 1 else ():
                key = group_id(plan.group.key)
                if self._admit(key, record.wall_time):
                    about = {"queues": list(plan.group.queues), "workers": len(plan.group.workers)}
                    self._groups[key] = self._clean(about) | {"seen": record.wall_time}
                    found[key] = tick.group(plan)
        return found

    def _admit(self, key: str, now: float) -> bool:
        if key in self._groups:
            return True
        if len(self._groups) >= MAX_GROUPS:
            oldest = min(self._groups, key=lambda one: float(self._groups[one]["seen"]))
            if now - self._groups[oldest]["seen"] < _FORGET_SECONDS:
                return False
            del self._groups[oldest], self._series[oldest]
            self._gone.add(oldest)
        self._gone.discard(key)
        self._series[key] = Series()
        return True

    def _note(self, found: Mapping[Subject, str], record: TickRecord) -> None:
        """Keep since when each condition holds; one that nobody looked at this time still holds."""
        if record.wall_time > self._remembered_until:
            self._remembered.clear()
        self._states = in_force(self._states, found, record)
        begun = {one: self._remembered.get(one, record.wall_time) for one in found} | self._since
        self._since = {subject: begun[subject] for subject in self._states}
        # What was looked at and does not hold has ended meanwhile: when it comes again, it begins anew.
        self._remembered = {
            subject: since
            for subject, since in self._remembered.items()
            if subject not in found and not is_observed(subject, record)
        }

    def changed(self) -> tuple[dict[str, dict[str, str]], set[str]]:
        """What to store since the last call, as fields by group, and the groups that are gone."""
        with self._lock:
            fields = {key: series.changed() for key, series in self._series.items()}
            gone, self._gone = self._gone, set()
            meta = {
                "version": VERSION,
                "columns": list(COLUMNS),
                "tiers": [list(tier) for tier in TIERS],
                "groups": self._groups,
                "conditions": self._clean([[*subject, since] for subject, since in self._since.items()]),
                "at": self._series[TOTAL].at,
            }
        fields[TOTAL][META] = json.dumps(meta)
        return fields, gone

    def mark(self, fields: Mapping[str, Iterable[str]], gone: Iterable[str]) -> None:
        """Take all this as changed again: it could not be stored."""
        with self._lock:
            self._gone |= set(gone) - self._series.keys()
            for key, names in fields.items():
                if key in self._series:
                    self._series[key].mark(name for name in names if name != META)

    def restore(
        self, stored: Mapping[str, Mapping[str, str]], actions: Sequence[dict[str, Any]], now: float
    ) -> None:
        """Fill what is not known from what was stored, by this daemon or by the one before it."""
        meta = parse_meta(stored.get(TOTAL, {}).get(META))
        with self._lock:
            for key, about in meta["groups"].items():
                if key not in self._groups and len(self._groups) < MAX_GROUPS:
                    self._groups[key], self._series[key] = about, Series()
            for key in self._series.keys() & stored.keys() if meta["current"] else ():
                self._series[key].restore(stored[key], now)
            known = {(one["at"], one["worker"], one["command"]) for one in self._actions}
            older = [one for one in actions if (one["at"], one["worker"], one["command"]) not in known]
            both = sorted([*older, *self._actions], key=lambda one: float(one["at"]))
            self._actions = deque(both, maxlen=MAX_ACTIONS)
            if now - meta["at"] <= _SAME_CONDITION_SECONDS:
                self._remembered_until = now + _SAME_CONDITION_SECONDS
                for subject, since in meta["conditions"].items():
                    if self._since.get(subject, since) < since or subject not in self._since:
                        self._remembered[subject] = since
                    else:
                        self._since[subject] = since


def parse_meta(text: str | None) -> dict[str, Any]:
    """What describes a stored history; what another version has stored is not read."""
    empty: dict[str, Any] = {"current": False, "groups": {}, "conditions": {}, "at": 0.0}
    try:
        found = foreign_json.loads(text or "{}")
        if found["version"] != VERSION or found["columns"] != list(COLUMNS):
            return empty
        groups = {
            str(key): {
                "queues": [str(one) for one in about["queues"]],
                "workers": int(about["workers"]),
                "seen": float(about["seen"]),
            }
            for key, about in found["groups"].items()
        }
        held = {(str(kind), str(name)): float(since) for kind, name, since in found["conditions"]}
        return {"current": True, "groups": groups, "conditions": held, "at": float(found["at"])}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
        return empty


def group_id(key: Sequence[str]) -> str:
    """A short name of a group, for a key and an address."""
    return hashlib.blake2b("\0".join(key).encode(errors="replace"), digest_size=5).hexdigest()


def actions_of(record: TickRecord) -> list[dict[str, Any]]:
    """The actions of one tick, each with its reason and what that means."""
    reasons = {decision.worker: str(decision.reason) for decision in record.plan.decisions}
    return [
        explained({"at": record.wall_time, "reason": reasons.get(one.worker), **outcome_fields(one)})
        for one in record.outcomes
    ]


def explained(action: dict[str, Any]) -> dict[str, Any]:
    """The action with what its reason means."""
    try:
        return action | {"why": MEANINGS[Reason(action["reason"])]}
    except ValueError:
        return action | {"why": None}


class _Wait(NamedTuple):
    """The wait of an oldest task, and whether it is beyond its target."""

    seconds: float
    late: bool


class _Tick:
    """One tick as rows."""

    def __init__(self, record: TickRecord, target_waits: TargetWaits) -> None:
        self._record = record
        self._target_waits = target_waits
        self._answered = {reading.name: reading for reading in record.observation.workers}
        self._queues = {queue.name: queue for queue in record.observation.queues}
        self._decisions = {one.worker: one for one in (*record.plan.decisions, *record.plan.peers)}
        self._bounds = applied_bounds(record.plan)
        faults = record.faults.keys()
        self._flags = (
            (PAUSED if record.observation.override.paused else 0)
            | (OUTAGE if {"backlog", "pool"} & faults else 0)
            | (STANDBY if lease_is_read(record) and not record.observation.leader else 0)
        )

    def total(self) -> Row:
        """The row of everything."""
        plans = self._record.plan.groups
        consumed = {name for plan in plans for name in plan.group.queues}
        others = [queue for name, queue in self._queues.items() if name not in consumed]
        waits = [*map(self._wait, plans), *map(self._unconsumed, others)]
        return self._row(sorted(self._queues), sorted(self._record.workers), waits)

    def group(self, plan: GroupPlan) -> Row:
        """The row of one group."""
        return self._row(plan.group.queues, plan.group.workers, [self._wait(plan)])

    def _row(self, queues: Sequence[str], workers: Sequence[str], waits: Sequence[_Wait | None]) -> Row:
        read = "backlog" not in self._record.faults
        readings = [self._queues.get(name) for name in queues] if read else [None]
        members = [self._answered.get(name) for name in workers]
        if "pool" in self._record.faults or not read:
            members = [None]
        decided = [self._decisions.get(name) for name in workers]
        processes = _sum(members, "processes")
        lower, upper = self._limits(workers)
        known = [wait for wait in waits if wait is not None] if read and None not in waits else []
        return row(
            waiting=_sum(readings, "waiting"),
            fetched=_sum(members, "reserved"),
            running=_sum(members, "busy"),
            scheduled=_sum(members, "scheduled"),
            age=max((wait.seconds for wait in known), default=None),
            processes=processes,
            peak=processes,
            target=None if processes is None else _sum(decided, "target"),
            desired=None if processes is None else _sum(decided, "desired"),
            lower=lower,
            upper=upper,
            at_max=None if processes is None or upper is None else float(processes >= upper),
            late=float(any(wait.late for wait in known)) if known else None,
            flags=self._flags,
        )

    def _limits(self, workers: Sequence[str]) -> tuple[float | None, float | None]:
        bounds = [self._bounds.get(name) for name in workers]
        if not bounds:
            return None, None
        highest = [None if one is None else capacity.lowest(one) for one in bounds]
        lower = None if None in bounds else sum(one.min_processes for one in bounds if one)
        return lower, None if None in highest else sum(one.processes for one in highest if one)

    def _wait(self, plan: GroupPlan) -> _Wait | None:
        """That of the oldest task of a group, as the decision knew it."""
        seconds, target = plan.oldest_wait_seconds, plan.target_seconds
        return None if seconds is None or target is None else _Wait(seconds, late=seconds > target)

    def _unconsumed(self, queue: QueueReading) -> _Wait | None:
        """That of a queue which no worker consumes."""
        target = self._target_waits.of([queue.name])
        seconds = 0.0 if queue.waiting == 0 else queue.oldest_age_seconds
        return None if seconds is None or target is None else _Wait(seconds, late=seconds > target)


def _sum(parts: Sequence[QueueReading | WorkerReading | Decision | None], name: str) -> int | None:
    """The sum, None where a part of it is not known."""
    values = [None if part is None else getattr(part, name) for part in parts]
    return None if None in values else sum(value for value in values if value is not None)
