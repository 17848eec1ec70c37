"""Looks at the fleet as the daemon does, again and again, and never acts.

It decides by the same policy from its own readings, so that it knows the fleet also where every worker has a
sidecar of its own, and where no worker is left.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from autoscaler.keda.answer import UnknownError, remember_queues
from autoscaler.keda.unacked import Lost, held_by, place_of, remember_places
from autoscaler.keda.unseen import UNSEEN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import Event

    from structlog.typing import FilteringBoundLogger

    from autoscaler.keda.unacked import UnackedPlace
    from autoscaler.report.status import TickRecord


#: So many workers that are gone are remembered with what they held.
_MAX_LOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often it looks, how old a look may be, how long an unresponsive worker is waited for; seconds."""

    interval_seconds: float
    fresh_seconds: float
    patience_seconds: float


class Fleet:
    """The last look at the fleet. ``look`` gathers and decides, as ``Controller.look`` does.

    ``read_leaving`` names the workers whose pods leave.
    """

    def __init__(
        self,
        look: Callable[[], TickRecord],
        pace: Pace,
        log: FilteringBoundLogger,
        *,
        read_leaving: Callable[[], frozenset[str]] = frozenset,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._read_leaving = read_leaving
        self._leaving: frozenset[str] = frozenset()
        self._pace = pace
        self._log = log
        self._monotonic = monotonic
        self._seen: tuple[TickRecord, float] | None = None
        self._queues: dict[str, tuple[str, ...]] = {}
        self._places: dict[UnackedPlace, frozenset[str]] = {}
        self._consumed: dict[str, float] = {}
        self._unresponsive_since: dict[str, float] = {}
        self._lost: dict[str, Lost] = {}
        self._one_at_a_time = Lock()
        self._began_at = -math.inf
        self._faults: frozenset[str] = frozenset()
        self._started_at = monotonic()

    def run(self, stop: Event) -> None:
        """Look until ``stop`` is set."""
        while not stop.is_set():
            self.look()
            stop.wait(self._pace.interval_seconds)

    def look(self) -> None:
        """Look once."""
        with self._one_at_a_time:
            self._look_once()

    def since(self, at: float) -> TickRecord:
        """The last look, or a new one where that began before ``at``. Whoever waits for it shares it.

        Raises:
            UnknownError: as :meth:`latest`.
        """
        with self._one_at_a_time:
            if self._began_at < at:
                self._look_once()
        return self.latest()

    def _look_once(self) -> None:
        began_at = self._monotonic()
        record = self._look()
        self._leaving = self._read_leaving()
        now, self._began_at = self._monotonic(), began_at
        answering = {reading.name for reading in record.observation.workers}
        for name in record.unresponsive:
            self._unresponsive_since.setdefault(name, now)
        for name in answering:
            self._unresponsive_since.pop(name, None)
        if record.faults.keys().isdisjoint({"backlog", "pool"}):
            # Their mailbox is gone as well. Until they count as gone they may be reconnecting.
            for name in self._unresponsive_since.keys() - {*record.unresponsive, *self.unresponsive()}:
                del self._unresponsive_since[name]
        self._note_lost(record, answering)
        self._queues = remember_queues(self._queues, record, self.unresponsive())
        kept = {queue: at for queue, at in self._consumed.items() if now - at < UNSEEN_SECONDS}
        read = {queue: now for reading in record.observation.workers for queue in reading.queues}
        self._consumed = kept | read
        self._places = remember_places(self._places, record)
        self._seen = (record, now)
        faults = frozenset(record.faults)
        if faults != self._faults:
            self._log.warning("fleet.faults", faults=dict(record.faults))
            self._faults = faults

    def _note_lost(self, record: TickRecord, answering: set[str]) -> None:
        """Remember how many tasks each worker held that stopped answering.

        One that has removed its mailbox may finish them, or be killed first: what is in Redis tells.
        """
        before = self._seen[0].workers if self._seen else {}
        for name in record.unresponsive:
            reading = record.workers.get(name) or before.get(name)
            if reading is not None and (held := held_by(reading)):
                queues = self._queues.get(name, reading.queues)
                self._lost[name] = Lost(tasks=held, queues=queues, place=place_of(reading))
        for name in answering:
            self._lost.pop(name, None)
        while len(self._lost) > _MAX_LOST:
            del self._lost[next(iter(self._lost))]

    def lost(self) -> Mapping[str, Lost]:
        """The workers that stopped answering with tasks in hand, by name, until they answer again."""
        return dict(self._lost)

    def age_seconds(self) -> float | None:
        """How old the last look is, None where there is none."""
        return self._monotonic() - self._seen[1] if self._seen else None

    def latest(self) -> TickRecord:
        """The last look.

        Raises:
            UnknownError: where there is none, or it is too old.
        """
        if self._seen is None:
            raise UnknownError("the fleet has not been looked at yet")
        record, at = self._seen
        age = self._monotonic() - at
        if age > self._pace.fresh_seconds:
            raise UnknownError(
                f"the fleet was last looked at {age:.0f} s ago; {self._pace.fresh_seconds:.0f} s are allowed"
            )
        return record

    def unresponsive(self) -> list[str]:
        """The workers that do not answer and do not count as gone yet, by name."""
        since = self._monotonic() - self._pace.patience_seconds
        return sorted(name for name, at in list(self._unresponsive_since.items()) if at > since)

    def consumed(self) -> Mapping[str, float]:
        """When a worker that answered was last seen to consume each queue, in monotonic seconds."""
        return self._consumed

    def known_queues(self) -> Mapping[str, tuple[str, ...]]:
        """The queues that each worker consumes or, where they were cancelled, consumed last, by its name."""
        return self._queues

    def leaving(self) -> frozenset[str]:
        """The workers whose pods leave, as of the last look."""
        return self._leaving

    def places(self) -> Mapping[UnackedPlace, frozenset[str]]:
        """The queues of each place where workers keep what they have not acknowledged, as seen so far."""
        return self._places

    def live(self) -> str | None:
        """Why the loop counts as stuck, or None."""
        at = self._seen[1] if self._seen else self._started_at
        age, allowed = self._monotonic() - at, 3 * self._pace.fresh_seconds
        return None if age <= allowed else f"no look has ended for {age:.0f} s; {allowed:.0f} s are allowed"

    def ready(self) -> str | None:
        """Why questions cannot be answered now, or None."""
        try:
            record = self.latest()
        except UnknownError as fault:
            return str(fault)
        return f"Redis cannot be read: {record.faults['backlog']}" if "backlog" in record.faults else None
