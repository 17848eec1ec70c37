"""Empties one worker: cancel its consumers, wait until it runs and holds nothing, and wait out a fetch.

The parts that a drain (which shuts the worker down) and a quiesce (which shrinks it) have in common. A worker
counts as empty only by a reading that says so: nothing runs, nothing is reserved, nothing is consumed. ETA
tasks are left out, since a worker gives them back to the queue when it shuts down. No clock and no loop here:
the caller gives the times between which each reading was taken, in monotonic seconds.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

from autoscaler.broker.errors import BrokerError
from autoscaler.control.consumers import Cancellation, CancelRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from autoscaler.control.consumers import Consumers
    from autoscaler.core.model import WorkerReading

#: kombu's fetch blocks for 1 s; one that began before the cancellation may still bring a message.
FETCH_SECONDS = 1.2
#: A worker that goes on consuming is sent its cancellation again no more often than this.
_CANCEL_AGAIN_SECONDS = 1.0


class Stage(StrEnum):
    """How far a worker's evacuation has come."""

    EMPTYING = "emptying"  # it runs or holds tasks, still consumes, or does not answer
    SETTLING = "settling"  # it is empty, and a fetch may still be in flight
    EMPTY = "empty"


class Evacuation:
    """Empties ``worker``, which consumes ``queues``, until ``deadline`` (monotonic seconds) at the latest.

    The record of the cancellation lasts ``margin_seconds`` longer than that. It sends nothing: :func:`cancel`
    and :func:`restore` do, for several at once.
    """

    def __init__(
        self, worker: str, queues: Collection[str], *, deadline: float, margin_seconds: float = 0.0
    ) -> None:
        self.worker = worker
        self.queues = tuple(sorted(queues))
        self.deadline = deadline
        self._margin_seconds = margin_seconds
        self._empty_since: float | None = None
        self._consumes = False
        self._cancel_again_at = -math.inf

    @property
    def cancellation(self) -> Cancellation:
        """What is cancelled, to be restored."""
        return Cancellation(worker=self.worker, queues=self.queues)

    def request(self, now: float) -> CancelRequest:
        """What is to be cancelled, and for how long from ``now``."""
        seconds = max(0.0, self.deadline - now) + self._margin_seconds
        return CancelRequest(worker=self.worker, queues=self.queues, for_seconds=seconds)

    def advance(self, reading: WorkerReading | None, since: float, now: float) -> Stage:
        """The stage by what was read no earlier than ``since`` and no later than ``now``.

        A worker whose look took long counts as empty by a reading that was certainly taken after the wait.
        """
        self._consumes = reading is not None and bool(reading.queues)
        if reading is not None:
            self.queues = tuple(sorted({*self.queues, *reading.queues}))
        if self._consumes or not _holds_nothing(reading):
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        if self._empty_since is None:
            return Stage.EMPTYING
        return Stage.EMPTY if since - self._empty_since >= FETCH_SECONDS else Stage.SETTLING

    def must_cancel_again(self, now: float) -> bool:
        """Whether its consumers are to be cancelled again, whatever it runs; once a second at most.

        The cancellation was lost, or a reconnect has brought the consumers back.
        """
        if not self._consumes or now < self._cancel_again_at or now > self.deadline:
            return False
        self._cancel_again_at = now + _CANCEL_AGAIN_SECONDS
        return True


def cancel(
    consumers: Consumers, evacuations: Sequence[Evacuation], now: float, *, force: bool = False
) -> frozenset[str]:
    """Cancel the consumers of all, with a record of it; the workers that this was done for.

    A worker that somebody else is emptying is left out, unless by ``force``.

    Raises:
        BrokerError: when the broker fails; the records say what may be cancelled.
    """
    return consumers.cancel_all([one.request(now) for one in evacuations], force=force)


def restore(consumers: Consumers, evacuations: Sequence[Evacuation]) -> set[str]:
    """Add the consumers of all again; those that answered. The others keep their records for a daemon."""
    try:
        return consumers.restore_all([one.cancellation for one in evacuations])
    except BrokerError:
        return set()


def _holds_nothing(reading: WorkerReading | None) -> bool:
    return reading is not None and reading.busy == 0 and reading.reserved == 0 and reading.queues_known
