"""Answers ScaledObjects: the last look at the fleet, and the depth of their queues as it is now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeVar

from autoscaler.broker.errors import BrokerError
from autoscaler.keda.answer import (
    Answer,
    MissingError,
    UnknownError,
    Why,
    answer,
    depths,
    per_worker,
)
from autoscaler.keda.observed import Said
from autoscaler.keda.question import QuestionError, parse_question
from autoscaler.keda.recent import Recent
from autoscaler.keda.unacked import deserted_places, lost_of, unaccounted
from autoscaler.keda.unseen import UNSEEN_SECONDS, Taken, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from autoscaler.core.policy import Policy
    from autoscaler.keda.observed import Observed
    from autoscaler.keda.question import Question
    from autoscaler.keda.unacked import Lost, UnackedPlace
    from autoscaler.report.status import TickRecord
    from autoscaler.sensors.queues import QueuesReading

_Found = TypeVar("_Found")


class FleetSource(Protocol):
    """The last look at the fleet."""

    def latest(self) -> TickRecord:
        """The last look."""

    def unresponsive(self) -> list[str]:
        """The workers that do not answer and do not count as gone yet."""

    def known_queues(self) -> Mapping[str, tuple[str, ...]]:
        """The queues that each worker consumes or, where they were cancelled, consumed last."""

    def consumed(self) -> Mapping[str, float]:
        """When a worker that answered was last seen to consume each queue, in monotonic seconds."""

    def leaving(self) -> frozenset[str]:
        """The workers whose pods leave."""

    def places(self) -> Mapping[UnackedPlace, frozenset[str]]:
        """The queues of each place where workers keep what they have not acknowledged."""

    def since(self, at: float) -> TickRecord:
        """The last look, or a new one where that began before ``at``."""

    def lost(self) -> Mapping[str, Lost]:
        """The workers that stopped answering with tasks in hand."""


class DepthSource(Protocol):
    """Reads queue depths."""

    def read(self, queues: Sequence[str]) -> QueuesReading:
        """One round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObject:
    """A ScaledObject and the metadata of its trigger."""

    namespace: str
    name: str
    metadata: Mapping[str, str]


def _name(scaled_object: ScaledObject) -> str:
    return f"{scaled_object.namespace}/{scaled_object.name}"


class Scaler:
    """Answers for one fleet.

    ``default`` is what metadata may leave out; ``reset`` drops a connection that failed. ``unacked`` reads
    how many messages were fetched and not acknowledged in these places. ``observed``
    takes in what was answered. ``monotonic`` is the fleet's clock.
    """

    def __init__(
        self,
        fleet: FleetSource,
        backlog: DepthSource,
        *,
        policy: Policy,
        default: Question,
        reset: Callable[[], None],
        redact: Callable[[str], str],
        monotonic: Callable[[], float],
        observed: Observed,
        log: FilteringBoundLogger,
        unacked: Callable[[Sequence[UnackedPlace]], int],
    ) -> None:
        self._fleet = fleet
        self._backlog = backlog
        self._policy = policy
        self._default = default
        self._reset = reset
        self._redact = redact
        self._unacked = unacked
        self._monotonic = monotonic
        self._observed = observed
        self._log = log
        self._one_at_a_time = Lock()
        self._unknown: Recent[tuple[str, tuple[str, ...]], Why] = Recent()
        self._watching = Lock()
        self._taken: Recent[str, Taken] = Recent()
        self._targets: Recent[tuple[str, str, tuple[str, ...]], int] = Recent()

    def target(self, scaled_object: ScaledObject) -> int:
        """The processes that one worker can hold, for the HPA to divide by.

        Raises:
            QuestionError, MissingError: where the metadata has a fault, or leaves out what nobody knows.
        """
        return self._target(scaled_object, self._question(scaled_object))

    def answer(self, scaled_object: ScaledObject) -> Answer:
        """The processes that the work of a ScaledObject's queues needs.

        Raises:
            QuestionError, MissingError, UnknownError: where it is not known; never a number instead.
        """
        question = self._asked(scaled_object)
        return self._answer(scaled_object, question, lambda: self._target(scaled_object, question))

    def is_active(self, scaled_object: ScaledObject, *, anew: bool = True) -> bool:
        """Whether there is work; how much one worker holds need not be known for that.

        ``anew``: before it says that there is none, it looks at the workers once more. What was fetched since
        the last look is in no queue any more, and in no worker yet.

        Raises:
            QuestionError, UnknownError: where it is not known.
        """
        question = self._asked(scaled_object)
        per_worker = self._stated(scaled_object, question)
        return self._answer(scaled_object, question, lambda: per_worker, anew=anew).active

    def _answer(
        self,
        scaled_object: ScaledObject,
        question: Question,
        target: Callable[[], int | None],
        *,
        anew: bool = True,
    ) -> Answer:
        name, at, per_worker = _name(scaled_object), self._monotonic(), None
        try:
            waiting = self._waiting(question)
            per_worker = target()
            found = self._from(self._fleet.latest(), question, waiting, per_worker or 1)
            if anew and not found.active:
                found = self._from(self._fleet.since(at), question, waiting, per_worker or 1)
            found = self._beside_unseen(found, waiting, at)
        except (UnknownError, MissingError) as fault:
            error = Said(at=at, queues=question.queues, target=per_worker, error=str(fault))
            self._observed.note(name, error)
            raise
        self._observed.note(name, Said(at=at, queues=question.queues, answer=found, target=per_worker))
        self._say_unknown(name, question, found)
        return found

    def _from(
        self, record: TickRecord, question: Question, waiting: Mapping[str, int], per_worker: int
    ) -> Answer:
        return answer(
            question,
            record,
            waiting,
            per_worker=per_worker,
            unresponsive=self._fleet.unresponsive(),
            known_queues=self._fleet.known_queues(),
            leaving=self._fleet.leaving(),
            unacked=self._stranded(record, question),
        )

    def _beside_unseen(self, found: Answer, waiting: Mapping[str, int], at: float) -> Answer:
        """The answer with what may run where messages are taken by somebody who is not seen.

        Raises:
            UnknownError: where there would be no work otherwise.
        """
        consumed, taken = self._fleet.consumed(), {}
        with self._watching:  # calls come from many threads
            for queue, depth in waiting.items():
                now = follow(self._taken.get(queue), depth, consumed_at=consumed.get(queue), at=at)
                self._taken.put(queue, now)
                if now.taken_at is not None:
                    taken[queue] = now.peak
        if taken and not found.active:
            raise UnknownError(
                f"messages of queue {min(taken)!r} were taken in the last {UNSEEN_SECONDS / 60:.0f} minutes"
                " and no worker that consumes it answers: what runs there is not known"
            )
        if found.why is Why.PAUSED or not taken:
            return found
        return replace(found, processes=max(found.processes, sum(taken.values())))

    def _stranded(self, record: TickRecord, question: Question) -> int:
        """The messages that a worker which is gone had fetched, and that nobody has restored so far."""
        deserted = deserted_places(self._fleet.places(), record, question.queues)
        found = self._read(lambda: self._unacked(deserted)) if deserted else 0
        lost = lost_of(self._fleet.lost().values(), question.queues, but=deserted)
        if lost:
            places = sorted({one.place for one in lost})
            found += unaccounted(lost, record, self._read(lambda: self._unacked(places)))
        return found

    def _say_unknown(self, name: str, question: Question, found: Answer) -> None:
        """Log once that no worker has consumed such a queue and that it is empty: it may be mistyped."""
        subject = (name, question.queues)
        if found.why is not Why.UNKNOWN_QUEUE:
            self._unknown.drop(subject)
        elif self._unknown.get(subject) is None:
            self._unknown.put(subject, found.why)
            self._log.warning(
                "keda.unknown_queue",
                scaled_object=name,
                queues=list(question.queues),
                why="it is empty and no worker has consumed it so far; is metadata queue mistyped?",
            )

    def _question(self, scaled_object: ScaledObject) -> Question:
        return parse_question(scaled_object.metadata, self._default)

    def _asked(self, scaled_object: ScaledObject) -> Question:
        """The question; a fault in it takes the place of what was answered before."""
        try:
            return self._question(scaled_object)
        except QuestionError as fault:
            said = Said(at=self._monotonic(), queues=(), error=str(fault))
            self._observed.note(_name(scaled_object), said)
            raise

    def _stated(self, scaled_object: ScaledObject, question: Question) -> int | None:
        """The processes of one worker where they are known without asking anybody."""
        key = (scaled_object.namespace, scaled_object.name, question.queues)
        return question.processes_per_worker or self._targets.get(key)

    def _target(self, scaled_object: ScaledObject, question: Question) -> int:
        if question.processes_per_worker is not None:
            return question.processes_per_worker
        # KEDA puts the target into the HPA once: what follows has to go on dividing by the same.
        key = (scaled_object.namespace, scaled_object.name, question.queues)
        found = self._targets.get(key)
        if found is None:
            try:
                record = self._fleet.latest()
            except UnknownError:
                record = None
            found = per_worker(question, record, self._policy)
            self._targets.put(key, found)
        return found

    def _waiting(self, question: Question) -> dict[str, int]:
        return depths(self._read(lambda: self._backlog.read(question.queues)).queues)

    def _read(self, read: Callable[[], _Found]) -> _Found:
        with self._one_at_a_time:
            try:
                return read()
            except BrokerError as fault:
                self._reset()
                raise UnknownError(self._redact(f"Redis cannot be read: {fault}")) from fault
