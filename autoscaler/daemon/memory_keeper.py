"""Keeps what was learnt of workers' memory in Redis, so that a daemon that starts anew knows it.

One small value, written by the acting daemon every half minute and when it ends. A Redis that fails, or a
user without the right to the key, costs what was learnt at the next restart and is logged once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import Keys
from autoscaler.core.kept_memory import pack, unpack
from autoscaler.core.memory import FORGET_SECONDS
from autoscaler.daemon.faults import FAULTS, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis
    from structlog.typing import FilteringBoundLogger

    from autoscaler.core.memory import MemoryRecord

STORE_SECONDS = 30.0


class MemoryKeeper:
    """Stores and reads the records of the autoscaler called ``name``; both clocks are arguments."""

    def __init__(
        self,
        name: str,
        *,
        redis: Callable[[], Redis],
        log: FilteringBoundLogger,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._key = Keys(name=name).memory
        self._redis = redis
        self._log = log
        self._monotonic = monotonic
        self._wall = wall
        self._stored_at = -math.inf
        self._restored = False
        self._fault: str | None = None

    def restore(self, records: Mapping[str, MemoryRecord]) -> Mapping[str, MemoryRecord]:
        """``records`` with those that an earlier daemon has stored, until they could be read once."""
        if self._restored:
            return records
        try:
            with broker_errors():
                stored = self._redis().get(self._key)
        except FAULTS as fault:
            self._report(described(fault))
            return records
        self._restored = True
        if stored is None:
            return records
        assert isinstance(stored, str | bytes)  # noqa: S101 - for the type checker
        found = unpack(stored, at=self._monotonic(), wall=self._wall())
        self._log.info("memory.restored", workers=len(found))
        return {**found, **records}

    def store(self, records: Mapping[str, MemoryRecord], *, now: bool = False) -> None:
        """Store the records where it is time for it, or in any case."""
        at = self._monotonic()
        if not self._restored or not (now or at - self._stored_at >= STORE_SECONDS):
            return
        self._stored_at = at
        try:
            with broker_errors():
                self._redis().set(
                    self._key, pack(records, at=at, wall=self._wall()), px=int(FORGET_SECONDS * 1000)
                )
        except FAULTS as fault:
            self._report(described(fault))
        else:
            self._report(None)

    def _report(self, fault: str | None) -> None:
        if fault is not None and self._fault is None:
            self._log.warning("memory.not_kept", why=fault, consequence="learnt anew after a restart")
        self._fault = fault
