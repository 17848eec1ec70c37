"""Empties one worker: cancel its consumers, wait until it runs and holds nothing, and wait out a fetch.

The parts that a drain (which shuts the worker down) and a quiesce (which shrinks it) have in common. A worker
counts as empty only by a reading that says so: nothing runs, nothing is reserved, nothing is consumed. ETA
tasks are left out, since a worker gives them back to the queue when it shuts down. No clock and no loop here:
the caller gives the time of each reading, in monotonic seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from autoscaler.broker.errors import BrokerError
from autoscaler.control.consumers import Cancellation

if TYPE_CHECKING:
    from collections.abc import Collection

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

    The record of the cancellation lasts ``margin_seconds`` longer than that.
    """

    def __init__(
        self,
        consumers: Consumers,
        worker: str,
        queues: Collection[str],
        *,
        deadline: float,
        margin_seconds: float = 0.0,
    ) -> None:
        self.worker = worker
        self.queues = tuple(sorted(queues))
        self.deadline = deadline
        self._consumers = consumers
        self._margin_seconds = margin_seconds
        self._empty_since: float | None = None
        self._cancel_again_at: float | None = None

    @property
    def cancellation(self) -> Cancellation:
        """What is cancelled, to be restored."""
        return Cancellation(worker=self.worker, queues=self.queues)

    def cancel(self, now: float) -> None:
        """Cancel all of its consumers, with a record of it.

        Raises:
            BrokerError: when the broker fails; the record says what may be cancelled.
        """
        seconds = max(0.0, self.deadline - now) + self._margin_seconds
        self._consumers.cancel(self.worker, self.queues, for_seconds=seconds)

    def advance(self, reading: WorkerReading | None, now: float) -> Stage:
        """The stage by what was just read.

        What it consumes is cancelled again, whatever it runs: the cancellation was lost, or a reconnect has
        brought the consumers back.

        Raises:
            BrokerError: when the broker fails while they are cancelled again.
        """
        if reading is not None and reading.queues:
            self._empty_since = None
            self._cancel_again(reading.queues, now)
        elif not _holds_nothing(reading):
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        if self._empty_since is None:
            return Stage.EMPTYING
        return Stage.EMPTY if now - self._empty_since >= FETCH_SECONDS else Stage.SETTLING

    def _cancel_again(self, queues: Collection[str], now: float) -> None:
        self.queues = tuple(sorted({*self.queues, *queues}))
        if self._cancel_again_at is None or now >= self._cancel_again_at:
            self._cancel_again_at = now + _CANCEL_AGAIN_SECONDS
            self.cancel(now)

    def restore(self) -> bool:
        """Whether the consumers were added again; if not, the record stays for a daemon to restore later."""
        try:
            return self._consumers.restore(self.cancellation)
        except BrokerError:
            return False


def _holds_nothing(reading: WorkerReading | None) -> bool:
    return reading is not None and reading.busy == 0 and reading.reserved == 0 and reading.queues_known
