"""Keeps the history: takes each tick in, and stores it in Redis aside, so that no tick waits for it.

The acting daemon stores what has changed every few seconds. It reads first what was stored before it, so that
a restart or a new leader goes on where the last one ended; a daemon that stands by reads again from time to
time. A Redis that fails costs nothing: what could not be stored is stored later.
"""

from __future__ import annotations

import math
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from autoscaler.broker.history_store import read_actions, read_history, write_history
from autoscaler.daemon.faults import FAULTS, described
from autoscaler.report.history import MAX_ACTIONS, META, TOTAL, explained, parse_meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from structlog.typing import FilteringBoundLogger

    from autoscaler.daemon.timing import Timing
    from autoscaler.report.history import History
    from autoscaler.report.status import TickRecord

STORE_SECONDS = 10.0
READ_AGAIN_SECONDS = 60.0


class Watcher(Protocol):
    """Who is shown each tick after it was taken in."""

    def publish(self) -> None:
        """Show the last tick."""


class Recorder:
    """Stores ``history`` under the name of the autoscaler.

    ``redis`` gives a client of its own, and ``reset`` drops it after a fault.
    """

    def __init__(
        self,
        name: str,
        history: History,
        timing: Timing,
        *,
        redis: Callable[[], Redis],
        reset: Callable[[], None],
        log: FilteringBoundLogger,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._name = name
        self._history = history
        self._timing = timing
        self._redis = redis
        self._reset = reset
        self._log = log
        self._monotonic = monotonic
        self._wall = wall
        self._leads = False
        self._restored = False
        self._tried_at: float | None = None
        self._fault: str | None = None
        self._ticked, self._stopped = Event(), Event()
        self._thread: Thread | None = None
        #: Those that are shown each tick, such as the open pages.
        self.watchers: list[Watcher] = []

    def take(self, record: TickRecord) -> None:
        """Take in one tick: nothing in here waits."""
        self._history.take(record, hold_seconds=self._timing.status_seconds(record.seconds))
        leads = record.observation.leader
        if leads and not self._leads:
            self._restored = False  # another may have led in the meantime
        self._leads = leads
        for watcher in self.watchers:
            watcher.publish()
        self._ticked.set()

    def start(self) -> None:
        """Begin to store, in a thread of its own."""
        self._thread = Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Store what is left, unless Redis fails, and end."""
        self._stopped.set()
        self._ticked.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def step(self, *, last: bool = False) -> None:
        """Read or store what is due; with ``last``, whatever there is, where Redis answers."""
        now = self._monotonic()
        run = self._due(now, last=last)
        if run is None:
            return
        self._tried_at = now
        try:
            run()
        except FAULTS as fault:
            self._report(described(fault))
            self._reset()
        except Exception as fault:
            self._fault = described(fault)  # it is tried again as after any fault, not in each tick
            raise
        else:
            self._report(None)

    def _run(self) -> None:
        ends = False
        while not ends:
            self._ticked.wait()
            self._ticked.clear()
            ends = self._stopped.is_set()
            try:
                self.step(last=ends)
            except Exception:  # noqa: BLE001 - whatever it is, it must not end the history
                self._log.exception("history.crashed")

    def _due(self, now: float, *, last: bool) -> Callable[[], None] | None:
        """What is to be done now; after a fault not before the time of the next store."""
        pause = math.inf if self._tried_at is None else now - self._tried_at
        if last:
            return self._store if self._leads and self._restored and self._fault is None else None
        if self._fault is not None and pause < STORE_SECONDS:
            return None
        if not self._leads:
            return self._restore if pause >= READ_AGAIN_SECONDS else None
        if not self._restored:
            return self._restore
        return self._store if pause >= STORE_SECONDS else None

    def _store(self) -> None:
        fields, gone = self._history.changed()
        try:
            write_history(self._redis(), self._name, fields, gone)
        except Exception:
            self._history.mark(fields, gone)
            raise

    def _restore(self) -> None:
        client = self._redis()
        meta = read_history(client, self._name)[TOTAL].get(META)
        stored = read_history(client, self._name, tuple(parse_meta(meta)["groups"]))
        actions = [explained(one) for one in read_actions(client, self._name, MAX_ACTIONS)]
        self._history.restore(stored, actions, self._wall())
        self._restored = self._leads

    def _report(self, fault: str | None) -> None:
        """Log a fault when it begins or changes, and when it is over."""
        if fault == self._fault:
            return
        if fault is not None:
            self._log.warning("history.not_stored", why=fault, consequence="kept in memory, stored later")
        else:
            self._log.info("history.stored_again")
        self._fault = fault
