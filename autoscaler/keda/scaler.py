"""Answers ScaledObjects: the last look at the fleet, and the depth of their queues as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeVar

from autoscaler.broker.errors import BrokerError
from autoscaler.keda.answer import Answer, UnknownError, answer, depths, per_worker
from autoscaler.keda.question import parse_question
from autoscaler.keda.unacked import deserted_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.core.policy import Policy
    from autoscaler.keda.question import Question
    from autoscaler.keda.unacked import UnackedPlace
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

    def places(self) -> Mapping[UnackedPlace, frozenset[str]]:
        """The queues of each place where workers keep what they have not acknowledged."""


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


class Scaler:
    """Answers for one fleet.

    ``default`` is what metadata may leave out; ``reset`` drops a connection that failed. ``unacked`` reads
    how many messages were fetched and not acknowledged in these places.
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
        unacked: Callable[[Sequence[UnackedPlace]], int],
    ) -> None:
        self._fleet = fleet
        self._backlog = backlog
        self._policy = policy
        self._default = default
        self._reset = reset
        self._redact = redact
        self._unacked = unacked
        self._one_at_a_time = Lock()
        self._targets: dict[tuple[str, str, tuple[str, ...]], int] = {}

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
        question = self._question(scaled_object)
        return self._answer(question, lambda: self._target(scaled_object, question))

    def is_active(self, scaled_object: ScaledObject) -> bool:
        """Whether there is work; how much one worker holds need not be known for that.

        Raises:
            QuestionError, UnknownError: where it is not known.
        """
        return self._answer(self._question(scaled_object), lambda: 1).active

    def _answer(self, question: Question, target: Callable[[], int]) -> Answer:
        waiting = self._waiting(question)
        record = self._fleet.latest()
        deserted = deserted_places(self._fleet.places(), record, question.queues)
        return answer(
            question,
            record,
            waiting,
            per_worker=target(),
            unresponsive=self._fleet.unresponsive(),
            known_queues=self._fleet.known_queues(),
            unacked=self._read(lambda: self._unacked(deserted)) if deserted else 0,
        )

    def _question(self, scaled_object: ScaledObject) -> Question:
        return parse_question(scaled_object.metadata, self._default)

    def _target(self, scaled_object: ScaledObject, question: Question) -> int:
        if question.processes_per_worker is not None:
            return question.processes_per_worker
        # KEDA puts the target into the HPA once: what follows has to go on dividing by the same.
        key = (scaled_object.namespace, scaled_object.name, question.queues)
        if key not in self._targets:
            try:
                record = self._fleet.latest()
            except UnknownError:
                record = None
            self._targets[key] = per_worker(question, record, self._policy)
        return self._targets[key]

    def _waiting(self, question: Question) -> dict[str, int]:
        return depths(self._read(lambda: self._backlog.read(question.queues)).queues)

    def _read(self, read: Callable[[], _Found]) -> _Found:
        with self._one_at_a_time:
            try:
                return read()
            except BrokerError as fault:
                self._reset()
                raise UnknownError(self._redact(f"Redis cannot be read: {fault}")) from fault
