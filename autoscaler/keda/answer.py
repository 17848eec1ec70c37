"""The answer to KEDA: how many processes the work needs, and whether there is any work.

Pure. What is not known is an error, never a small number. The HPA divides the processes by those that one
worker holds, so the answer is also what keeps workers: as long as tasks run it does not fall below the
workers that are there (:class:`~autoscaler.keda.question.ScaleIn`), since the HPA chooses at random which pod
goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from autoscaler.keda.question import ScaleIn
from autoscaler.report.status import limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading
    from autoscaler.core.plan import GroupPlan
    from autoscaler.core.policy import Policy
    from autoscaler.keda.question import Question
    from autoscaler.report.status import TickRecord

#: Without any of these the count of tasks is incomplete.
_NEEDED = ("backlog", "mailboxes", "pool")
#: How long a task that has ended counts as work: twice KEDA's polling interval, so that one look sees it.
ACTIVE_SECONDS = 60.0


class UnknownError(RuntimeError):
    """The fleet is not known well enough for an answer; the message says what is missing."""


class MissingError(RuntimeError):
    """Nothing says how much one worker holds; the message says what to state."""


class Why(StrEnum):
    """Why a ScaledObject is active or not: the first that holds."""

    WAITING = "waiting"  # messages wait
    RUNNING = "running"  # workers run or hold tasks
    SCHEDULED = "scheduled"  # tasks wait for their ETA in a worker
    ENDED = "ended"  # a task has ended within the last minute
    STRANDED = "stranded"  # messages that a killed worker had fetched will come back
    PAUSED = "paused"  # an administrator paused it: the fleet stays as it is
    IDLE = "idle"  # there is no work
    UNKNOWN_QUEUE = "unknown_queue"  # there is no work, and no worker consumed such a queue so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``processes`` that the work needs, ``active`` where there is any work.

    ``why`` and ``inputs``, what it was made of by name, are for reports.
    """

    processes: int
    active: bool
    why: Why = field(default=Why.IDLE, compare=False)
    inputs: Mapping[str, int] = field(default_factory=dict, compare=False)


def answer(
    question: Question,
    record: TickRecord,
    waiting: Mapping[str, int],
    *,
    per_worker: int,
    unresponsive: Sequence[str] = (),
    known_queues: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    leaving: Collection[str] = (),
    unacked: int = 0,
) -> Answer:
    """The answer by the last look at the fleet and the messages that wait now, by queue.

    ``unresponsive`` names workers that have not answered for less than the time after which they count as
    gone, ``known_queues`` is what :func:`remember_queues` has kept. ``leaving`` are workers whose pods leave:
    they finish what they hold, and no pod is kept or started for it. ``unacked`` messages were fetched and
    not acknowledged, and no worker that answers restores them.

    Raises:
        UnknownError: where a queue or the workers could not be read.
    """
    groups = groups_of(question, record)
    _trust(groups, record)
    cancelled = _with_cancelled_consumers(question, record, groups, known_queues)
    members = _staying([*(name for group in groups for name in group.group.workers), *cancelled], record)
    absent = [one for one in unresponsive if _may_be(one, question, known_queues)]
    # Messages that wait are work whoever is there, and from zero workers the fleet has to start.
    _require_an_answer(members, record, [] if any(waiting.values()) else absent)
    readings = {name: record.workers[name] for name in members}
    held, stranded = _holding(readings, record), unacked
    inputs = _inputs(groups, readings.values(), waiting, busy_workers=len(held), stranded=stranded)
    if record.observation.override.paused:
        size = len(members) * per_worker
        return Answer(processes=size, active=bool(members), why=Why.PAUSED, inputs=inputs)
    why = _why(groups, record, readings.values(), waiting, held=bool(held), stranded=stranded)
    stays = [one for one in held if one.name not in leaving]
    # Idle workers beside busy ones are kept too, unless only those that hold tasks are to be spared.
    kept = len({*members} - {*leaving}) if held and question.scale_in is ScaleIn.IDLE else len(stays)
    needed = _needed(groups, record, waiting) + sum(_tasks(one) for one in stays if one.name in cancelled)
    return Answer(
        processes=max(needed, sum(map(_tasks, stays)), kept * per_worker, per_worker if stranded else 0),
        active=why is not None,
        why=why or _why_idle(groups, question, known_queues),
        inputs=inputs,
    )


def _inputs(
    groups: Sequence[GroupPlan],
    readings: Collection[WorkerReading],
    waiting: Mapping[str, int],
    *,
    busy_workers: int,
    stranded: int,
) -> dict[str, int]:
    """What the answer is made of, by name, for metrics and page."""
    return {
        "waiting": sum(waiting.values()),
        "tasks": sum(map(_tasks, readings)),
        "workers": len(readings),
        "busy_workers": busy_workers,
        "recommended": sum(group.recommended for group in groups),
        "stranded": stranded,
    }


def _staying(members: list[str], record: TickRecord) -> list[str]:
    """The members without those that have removed their mailbox: they end, and no pod takes their place.

    Where all of them have, they may as well reconnect.
    """
    return [name for name in members if name not in _ended(record)] or members


def _ended(record: TickRecord) -> set[str]:
    """The workers that have removed their mailbox: not yet missed for long, or not even asked any more."""
    asked = {reading.name for reading in record.observation.workers} | {*record.unresponsive}
    return {*record.left} | (record.workers.keys() - asked)


def _holding(readings: Mapping[str, WorkerReading], record: TickRecord) -> list[WorkerReading]:
    """Those that run or hold tasks, or may."""
    answering = {reading.name for reading in record.observation.workers}
    return [one for name, one in readings.items() if _holds(one, answers=name in answering)]


def _why(
    groups: Sequence[GroupPlan],
    record: TickRecord,
    readings: Iterable[WorkerReading],
    waiting: Mapping[str, int],
    *,
    held: bool,
    stranded: int,
) -> Why | None:
    """The first reason to be active, None where there is no work."""
    reasons = {
        Why.WAITING: any(waiting.values()),
        Why.RUNNING: held,
        Why.SCHEDULED: any(one.scheduled for one in readings),
        Why.ENDED: _works(groups, record),
        Why.STRANDED: stranded > 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _needed(groups: Sequence[GroupPlan], record: TickRecord, waiting: Mapping[str, int]) -> int:
    """What the groups need, and a process for each message of a queue that nobody consumes."""
    consumed = {queue for group in groups for queue in group.group.queues}
    unconsumed = sum(count for queue, count in waiting.items() if queue not in consumed)
    return sum(_recommended(group, record) for group in groups) + unconsumed


def _why_idle(
    groups: Sequence[GroupPlan], question: Question, known_queues: Mapping[str, tuple[str, ...]]
) -> Why:
    """Whether a queue without work is one that any worker has consumed."""
    known = any(set(queues) & set(question.queues) for queues in known_queues.values())
    return Why.IDLE if groups or known else Why.UNKNOWN_QUEUE


def _recommended(group: GroupPlan, record: TickRecord) -> int:
    """What a group needs; where it holds its size for members that have left, without those."""
    ended = _ended(record)
    left = [record.workers[name] for name in group.group.workers if name in ended]
    if not left or group.work.unknown is None:
        return group.recommended
    return max(0, group.recommended - sum(one.processes or 0 for one in left))


def remember_queues(
    before: Mapping[str, tuple[str, ...]], record: TickRecord, unresponsive: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """The queues that each worker consumes or, where its consumers are cancelled, consumed, by its name.

    A worker that holds tasks keeps its earlier queues beside those it consumes now: queues are cancelled one
    by one. One that is neither known nor ``unresponsive`` any longer is forgotten.
    """
    there = record.workers.keys() | set(unresponsive)
    found = {name: queues for name, queues in before.items() if name in there}
    for reading in record.observation.workers:
        keeps = not reading.queues or _holds(reading, answers=True)
        queues = {*reading.queues, *(found.get(reading.name, ()) if keeps else ())}
        if queues:
            found[reading.name] = tuple(sorted(queues))
    return found


def groups_of(question: Question, record: TickRecord) -> list[GroupPlan]:
    """The groups of workers that consume one of the question's queues."""
    return [group for group in record.plan.groups if set(group.group.queues) & set(question.queues)]


def per_worker(question: Question, record: TickRecord | None, policy: Policy) -> int:
    """The processes that one worker can hold: stated, or the lowest bound that a worker has, or the policy's.

    Raises:
        MissingError: where none of them is known.
    """
    if question.processes_per_worker is not None:
        return question.processes_per_worker
    found = [] if record is None else _bounds(question, record, policy)
    if policy.max_processes is not None:
        found.append(policy.max_processes)
    if not found:
        raise MissingError(
            f"no worker of queue {question.queues[0]!r} has reported how many processes it can hold;"
            " give metadata processesPerWorker, --processes-per-worker or --max"
        )
    return min(found)


def depths(queues: Iterable[QueueReading]) -> dict[str, int]:
    """The messages that wait, by queue.

    Raises:
        UnknownError: where one could not be read.
    """
    found = {}
    for queue in queues:
        if queue.waiting is None:
            raise UnknownError(f"queue {queue.name!r} cannot be read: {queue.error}")
        found[queue.name] = queue.waiting
    return found


def _trust(groups: Sequence[GroupPlan], record: TickRecord) -> None:
    for sensor in _NEEDED:
        if sensor in record.faults:
            raise UnknownError(f"the last look at the fleet failed: {sensor}: {record.faults[sensor]}")
    counted = {queue for group in groups for queue in group.group.queues}
    depths(queue for queue in record.observation.queues if queue.name in counted)


def _require_an_answer(members: Sequence[str], record: TickRecord, unresponsive: Sequence[str]) -> None:
    answering = {reading.name for reading in record.observation.workers}
    without_answer = [name for name in members if name not in answering]
    missing = without_answer or unresponsive
    if len(without_answer) == len(members) and missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnknownError(f"worker {missing[0]!r}{more} does not answer: what runs there is not known")


def _with_cancelled_consumers(
    question: Question,
    record: TickRecord,
    groups: Sequence[GroupPlan],
    known_queues: Mapping[str, tuple[str, ...]],
) -> list[str]:
    """The workers whose consumers of the question's queues are cancelled, by a drain or a quiesce.

    Where it is not known what one consumed, it counts for whoever asks, as long as it holds a task.
    """
    grouped = {name for group in groups for name in group.group.workers}
    return [
        name
        for name in sorted(record.workers.keys() - grouped)
        if _may_be(name, question, known_queues)
        and (name in known_queues or _is_unplaced(record.workers[name]))
    ]


def _may_be(name: str, question: Question, known_queues: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the worker may have fetched from the question's queues."""
    queues = known_queues.get(name)
    return not queues or not set(queues).isdisjoint(question.queues)


def _is_unplaced(reading: WorkerReading) -> bool:
    return not reading.queues and _holds(reading, answers=True)


def _tasks(reading: WorkerReading) -> int:
    return (reading.busy or 0) + (reading.reserved or 0)


def _works(groups: Iterable[GroupPlan], record: TickRecord) -> bool:
    """Whether a task has ended lately: one that ran between two looks is seen by its end alone."""
    ends = [group.ended_at for group in groups if group.ended_at is not None]
    return any(record.observation.at - at < ACTIVE_SECONDS for at in ends)


def _holds(reading: WorkerReading, *, answers: bool) -> bool:
    counts = (reading.busy, reading.reserved)
    if reading.rate_limited:  # fetched, and in neither count
        return True
    return not answers or None in counts or any(counts)


def _bounds(question: Question, record: TickRecord, policy: Policy) -> list[int]:
    members = {name for group in groups_of(question, record) for name in group.group.workers}
    return [
        size
        for name in members
        for bound, size in limits(policy, record.workers[name].container).items()
        if bound != "min"
    ]
