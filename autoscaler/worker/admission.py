"""Holds a prefork pool's tasks back while there is no room for them in memory.

What belongs here: which children may be given a task, by what :mod:`.memory_gate` says. What may never enter:
the pool's size, and a signal. A task that is held back waits in the worker as any fetched task does.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .feeding import Feeding
    from .memory_gate import MemoryGate

_log = get_logger(__name__)

#: Seconds to the next look while tasks wait for room, after which that is said, and between two such lines.
_NEXT_LOOK_SECONDS = 0.05
_SAY_AFTER_SECONDS = 10.0
_SAY_SECONDS = 60.0
#: Where tasks are short, the one that waits starts, and a moment later the next one waits: that is one wait.
_SAME_WAIT_SECONDS = 1.0
#: How billiard says that SIGKILL ended a child.
_KILLED = -signal.SIGKILL


class Admission:
    """One pool's; ``staying`` gives the children that are to take tasks, without retiring ones."""

    def __init__(
        self,
        pool: Any,
        hub: Any,
        feeding: Feeding,
        gate: MemoryGate,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._hub = hub
        self._feeding = feeding
        self._gate = gate
        self._holds_back = False  # some children get no job
        self._now = now
        self._waits_since: float | None = None
        self._had_room_at: float | None = None  # since when none has waited, None while some wait
        self._looks_at = self._says_at = 0.0

    @property
    def waiting_seconds(self) -> float | None:
        """For how long tasks have been waiting for room while children are idle; None where none do."""
        now = self._now()
        return None if self._waits_since is None or self._is_over(now) else now - self._waits_since

    def on_tick(self, staying: Callable[[], list[Any]]) -> None:
        """Called in each turn of the worker's loop, before it writes jobs."""
        if self._holds_back or (
            self._pool.outbound_buffer and not self._gate.is_roomy(len(self._pool._pool))  # noqa: SLF001
        ):
            self._admit(staying())

    def on_exits(self, exit_codes: Sequence[int], staying: Callable[[], list[Any]]) -> bool:
        """Called when children have exited, before others are started; whether none may start now."""
        if _KILLED in exit_codes and self._gate.notice_kills():
            _log.warning(
                "memory: the OOM killer ended a process; no task starts until those that run have ended"
            )
            self._admit(staying())
        return self._gate.closed

    def _admit(self, staying: list[Any]) -> None:
        """Feed as many children as there is room for, and no others."""
        feeding, was_closed = self._feeding, self._gate.closed
        holders = feeding.holders()
        children = self._pool._pool  # noqa: SLF001
        busy = [child.pid for child in children if feeding.holds_job(child, holders)]
        idle = [child for child in staying if feeding.is_up(child) and not feeding.holds_job(child, holders)]
        starting = sum(not feeding.is_up(child) for child in children)
        room = self._gate.room(busy, [child.pid for child in idle], starting)
        self._holds_back = room is not None
        self._note(waits=room is not None and room < min(len(idle), len(self._pool.outbound_buffer)))
        self._feed_only(staying if room is None else idle[:room], staying, holders)
        if was_closed and not self._gate.closed:
            self._hub.call_soon(self._pool.maintain_pool)
        # A worker without tasks is not woken up for nothing: a task that comes turns the loop.
        if self._holds_back and (self._pool.outbound_buffer or self._gate.closed):
            self._look_again()

    def _note(self, *, waits: bool) -> None:
        now = self._now()
        if not waits:
            self._had_room_at = now if self._had_room_at is None else self._had_room_at
            return
        if self._waits_since is None or self._is_over(now):
            self._waits_since = now
        self._had_room_at = None

    def _is_over(self, now: float) -> bool:
        return self._had_room_at is not None and now - self._had_room_at > _SAME_WAIT_SECONDS

    def _feed_only(self, chosen: list[Any], staying: list[Any], holders: set[Any]) -> None:
        feeding = self._feeding
        resumed = [child for child in chosen if feeding.is_up(child) and not feeding.is_fed(child)]
        for child in staying:
            if child not in chosen:
                feeding.stop(child)
        for child in resumed:
            feeding.resume(child, holders)
        if resumed:
            # The pool may have looked already in this tick, and the next may be far.
            getattr(self._pool, "on_poll_start", _pass)()

    def _look_again(self) -> None:
        """Have the loop turn again soon, and say now and then that tasks wait."""
        now = self._now()
        if now >= self._looks_at:
            self._looks_at = now + _NEXT_LOOK_SECONDS
            self._hub.call_later(_NEXT_LOOK_SECONDS, _pass)
        if (self.waiting_seconds or 0.0) >= _SAY_AFTER_SECONDS and now >= self._says_at:
            self._says_at = now + _SAY_SECONDS
            # Celery's log shows no less than warnings unless it is told to.
            _log.warning(
                "memory: tasks wait until there is room for one more below the memory limit;"
                " a higher limit or autoscaler_memory_gate = False lets them start"
            )


def _pass() -> None:
    """Nothing but a turn of the loop."""
