"""Consumers that were restored here, and whether a worker has lost them again by a reconnect.

Celery before 5.7 forgets at its next connection what was cancelled and added again (celery#7733): such a
worker answers and consumes nothing. It is told apart from an operator's ``cancel_consumer``: consumers that
are missing count as lost where the worker has connected anew since it was last seen with them, or did not
answer in between. Else somebody wanted it so, and they are not restored again. A worker without companion
does not say whether it has connected anew: its consumers are restored once more, and left alone the next
time. What is missing while an administrator holds the worker or pauses the autoscaler is left alone, too.

No I/O and no clock; the record is of this process alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.control.consumers import Cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.core.model import WorkerReading


#: A worker that has not answered in so many looks in a row is gone: hours at the usual interval.
_FORGET_LOOKS = 5000


@dataclass(slots=True)
class _Restored:
    """The queues of one worker, and how it was when last seen with all of them."""

    queues: frozenset[str]
    unanswered: int = 0
    seen: bool = False
    interrupted: bool = False
    unexplained: bool = False
    uptime_seconds: float | None = None
    reconnects: int | None = None


class GivenBack:
    """Remembers the workers whose consumers were restored."""

    def __init__(self) -> None:
        self._restored: dict[str, _Restored] = {}

    def note(self, cancellation: Cancellation) -> None:
        """These consumers were restored now."""
        before = self._restored.get(cancellation.worker)
        queues = frozenset(cancellation.queues) | (before.queues if before else frozenset())
        if queues:
            unexplained = before.unexplained if before else False
            self._restored[cancellation.worker] = _Restored(queues=queues, unexplained=unexplained)

    def forget(self, worker: str) -> None:
        """Its consumers are cancelled now, on purpose."""
        self._restored.pop(worker, None)

    def lost(
        self, readings: Mapping[str, WorkerReading], left_alone: Callable[[str], bool] = lambda _: False
    ) -> list[Cancellation]:
        """What is to be restored again, by the readings of one tick.

        ``left_alone`` says of a worker whether an administrator wants nothing done with it.
        """
        found = []
        for name, one in list(self._restored.items()):
            missing = self._missing(one, readings.get(name))
            if missing is None or (missing and left_alone(name)):
                del self._restored[name]
            elif missing:
                found.append(Cancellation(worker=name, queues=tuple(sorted(missing))))
        return found

    @staticmethod
    def _missing(one: _Restored, reading: WorkerReading | None) -> frozenset[str] | None:
        """The queues that the worker has lost; None where it is to be remembered no longer."""
        one.unanswered = one.unanswered + 1 if reading is None else 0
        if reading is None or not reading.queues_known:
            one.interrupted = True
            return None if one.unanswered > _FORGET_LOOKS else frozenset()
        uptime = reading.uptime_seconds
        if one.uptime_seconds is not None and uptime is not None and uptime < one.uptime_seconds:
            return None  # another process, which consumes what it was started with
        one.uptime_seconds = uptime
        missing = one.queues.difference(reading.queues)
        if not missing:
            one.seen, one.interrupted, one.reconnects = True, False, reading.reconnects
            return frozenset()
        if not one.seen:
            return frozenset()  # what was restored does not show yet
        explained = one.interrupted or (reading.reconnects or 0) > (one.reconnects or 0)
        if not explained and (reading.reconnects is not None or one.unexplained):
            return None
        one.unexplained = not explained
        return missing
