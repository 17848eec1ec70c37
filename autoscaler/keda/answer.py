"""What KEDA is told: how many processes the work asks for, and whether there is work at all.

Pure. The law: what is not known is an error, never a small number. The HPA divides the processes by those
that one worker holds, so that the answer is also what keeps workers: as long as tasks run it does not fall
below the workers that are there (:class:`~autoscaler.keda.question.ScaleIn`), since nobody but the HPA's
chance decides which pod goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.keda.question import ScaleIn
from autoscaler.record import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from autoscaler.decider import GroupPlan
    from autoscaler.keda.question import Question
    from autoscaler.model import QueueReading, WorkerReading
    from autoscaler.policy import Policy
    from autoscaler.record import TickRecord

#: Faults of these sensors leave a hole in what is counted.
_NEEDED = ("backlog", "mailboxes", "pool")


class UnknownError(RuntimeError):
    """The fleet is not known well enough for an answer; the message says what is missing."""


class MissingError(RuntimeError):
    """Nothing says how much one worker holds; the message says what to state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``processes`` that the work asks for, ``active`` where there is any work."""

    processes: int
    active: bool


def answer(
    question: Question,
    record: TickRecord,
    waiting: Mapping[str, int],
    *,
    per_worker: int,
    unheard: Sequence[str] = (),
) -> Answer:
    """The answer by the last look at the fleet and the messages that wait now, by queue.

    ``unheard`` names workers that have kept silent for less than the time after which they are given up.

    Raises:
        UnknownError: where a queue or the workers could not be read.
    """
    groups = groups_of(question, record)
    # Messages that wait are work whoever is there, and zero workers have to be left behind.
    _trust(groups, record, () if any(waiting.values()) else unheard)
    members = [name for group in groups for name in group.group.workers]
    heard = {reading.name for reading in record.observation.workers}
    held = [record.workers[name] for name in members if _holds(record.workers[name], name in heard)]
    consumed = {queue for group in groups for queue in group.group.queues}
    alone = sum(count for queue, count in waiting.items() if queue not in consumed)
    scheduled = any(record.workers[name].scheduled for name in members)
    if record.observation.override.paused:
        return Answer(processes=len(members) * per_worker, active=bool(members))
    # Idle workers beside busy ones are kept too, unless only those are spared that hold tasks.
    kept = len(members) if held and question.scale_in is ScaleIn.IDLE else len(held)
    asked = sum(group.asked for group in groups) + alone
    tasks = sum((reading.busy or 0) + (reading.reserved or 0) for reading in held)
    return Answer(
        processes=max(asked, tasks, kept * per_worker),
        active=bool(held) or scheduled or any(waiting.values()),
    )


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
            f"no worker of queue {question.queues[0]!r} has told how many processes it can hold;"
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


def _trust(groups: Sequence[GroupPlan], record: TickRecord, unheard: Sequence[str]) -> None:
    for sensor in _NEEDED:
        if sensor in record.faults:
            raise UnknownError(f"the last look at the fleet failed: {sensor}: {record.faults[sensor]}")
    counted = {queue for group in groups for queue in group.group.queues}
    depths(queue for queue in record.observation.queues if queue.name in counted)
    heard = {reading.name for reading in record.observation.workers}
    silent = [name for group in groups for name in group.group.workers if name not in heard]
    answered = sum(len(group.group.workers) for group in groups) - len(silent)
    missing = silent or list(unheard)
    if answered == 0 and missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnknownError(f"worker {missing[0]!r}{more} does not answer: what runs there is not known")


def _holds(reading: WorkerReading, heard: bool) -> bool:  # noqa: FBT001 - read at its only call
    counts = (reading.busy, reading.reserved)
    return not heard or None in counts or any(counts)


def _bounds(question: Question, record: TickRecord, policy: Policy) -> list[int]:
    members = {name for group in groups_of(question, record) for name in group.group.workers}
    return [
        size
        for name in members
        for bound, size in limits(policy, record.workers[name].container).items()
        if bound != "min"
    ]
