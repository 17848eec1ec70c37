# ruff: noqa: SLF001 - private attributes are what this module is for
"""Resizes Celery's prefork pool inside its worker without a signal and without losing a task.

What belongs here: private attributes of billiard's pool and of Celery's around it.
:func:`.prefork_parts.missing_parts` says which of them a version lacks; nothing here may run where it finds
one. What may never enter: locks, and anything that blocks: all of it runs in the worker's event loop.

How a child leaves, and why each step is as it is:

* It *retires*: no new job is written to it. What it runs, what lies in its pipe and what is half written goes
  on. It still counts in the pool's own size, semaphore and prefetch: it holds a slot of each, and the
  children that stay would starve if its slot were taken before it is free. Until it exits it can be
  reclaimed, which costs nothing.
* Once it holds no job it *exits*: the sentinel that ends a child at shutdown goes into its pipe, behind
  anything that a broker reconnect has made the pool forget. Now its slot goes.
* When it is gone the pool must not replace it. Billiard starts whatever ``_processes`` says is missing in the
  same step in which it collects a dead child, hence the one method replaced here.

A child can only become idle by an event of the loop (a result, a finished write, a death), and after each
event the loop calls its tick callbacks: so nothing polls, and no timer has to survive a reconnect (Celery
5.3 clears them all).
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Any

from billiard.pool import EX_OK, EX_RECYCLE, RUN
from celery.utils.log import get_logger

from .admission import Admission
from .feeding import Feeding
from .slots import absorb, change_prefetch, change_semaphore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .memory_gate import MemoryGate

_log = get_logger(__name__)

#: Seconds of starting children after which the loop gets its turn again, in which it reads no result and no
#: command. A fork of a large parent, with the garbage collection that Celery does before it, takes 5 to 50
#: ms.
MAX_BATCH_SECONDS = 0.05
_NEXT_BATCH_SECONDS = 0.01
#: Children started together at first, when nothing is known of the time that one takes.
_FIRST_BATCH = 2
_MAX_BATCH = 8

_ATTRIBUTE = "_autoscaler_resizer"
#: Open files that a worker's process needs for each child: two pipes and the child's sentinel, twice.
_FILES_PER_CHILD = 6
_SPARE_FILES = 64


def resizer_of(consumer: Any) -> PreforkResizer:
    """The resizer of this worker's pool; it changes nothing in the pool before its first resize.

    :func:`.prefork_parts.missing_parts` has to be empty.
    """
    pool = consumer.pool._pool
    resizer: PreforkResizer | None = getattr(pool, _ATTRIBUTE, None)
    if resizer is None:
        resizer = PreforkResizer(consumer)
        setattr(pool, _ATTRIBUTE, resizer)
    return resizer


def lack_of_files(consumer: Any, size: int) -> str | None:
    """Why ``size`` children need more open files than this process may have, in one sentence, or None.

    Out of descriptors a worker can neither talk to its broker nor start a replacement.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    max_size = max((limit - _SPARE_FILES) // _FILES_PER_CHILD, consumer.pool.num_processes)
    if size <= max_size:
        return None
    return (
        f"pool_resize: size is {size}; with {limit} open files this worker can have {max_size} processes,"
        " raise its limit (ulimit -n)"
    )


def child_pids(consumer: Any) -> list[int]:
    """The process ids of the pool's children, retiring ones too."""
    return [child.pid for child in consumer.pool._pool._pool if child.pid]


class PreforkResizer:
    """One prefork pool and its retiring children.

    ``start_seconds`` is the time from the last resize that forked to the readiness of its last new child.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._hub = consumer.hub
        self._feeding = Feeding(consumer.pool._pool, consumer.hub)
        self._pool = consumer.pool._pool
        self._retiring: list[Any] = []  # take no new job; may be reclaimed
        self._exiting: list[Any] = []  # got the sentinel, not yet collected
        self._starting: list[Any] = []  # started by a resize, not yet ready
        self._grown_at: float | None = None
        self._spawns = getattr(consumer.controller, "pool_start_method", None) == "spawn"
        self._has_to_start_more = False
        self.start_seconds: float | None = None
        self._batch_cost: float | None = None  # seconds that starting one child took the loop, lately
        self._start_missing: Callable[[list[int]], None] | None = None  # billiard's own, once it is replaced
        self._admission: Admission | None = None

    @property
    def size(self) -> int:
        """Processes that the pool is set to, without retiring ones.

        Derived, not stored: a stock ``pool_grow`` of somebody else is then simply part of it.
        """
        size: int = self._pool._processes - len(self._retiring)
        return size

    @property
    def retiring(self) -> int:
        """Children that take no more jobs and have not ended yet."""
        return len(self._retiring) + len(self._exiting)

    @property
    def ready(self) -> int:
        """Children that are up and take jobs."""
        return sum(self._feeding.is_up(child) for child in self._staying())

    @property
    def memory_wait_seconds(self) -> float | None:
        """As :attr:`.admission.Admission.waiting_seconds`; None where nothing holds tasks back."""
        return None if self._admission is None else self._admission.waiting_seconds

    @property
    def running(self) -> bool:
        """Whether the pool still takes work: not while the worker shuts down."""
        return bool(self._pool._state == RUN)

    def resize(self, size: int) -> None:
        """Make ``size`` (1 or more) the number of children that take work.

        Returns at once: children are forked after the caller has answered, and busy ones leave when done.
        """
        self._install()
        surplus = len(self._staying()) - size
        if surplus > 0:
            self._retire(surplus)
        elif surplus < 0:
            self._reclaim(-surplus)
        self._fit(size)
        self._dismiss_idle()
        if len(self._staying()) < size:
            self._grown_at = time.monotonic()
            self._hub.call_soon(self._pool.maintain_pool)

    def guard(self, gate: MemoryGate) -> None:
        """From now on start tasks only as far as ``gate`` has room for them."""
        self._admission = Admission(self._pool, self._hub, self._feeding, gate)
        self._install()

    def _install(self) -> None:
        # Only now: a worker that is neither resized nor guarded is left as it is.
        if self._start_missing is not None:
            return
        self._start_missing = self._pool._repopulate_pool
        self._pool._repopulate_pool = self._repopulate
        # For good: kombu 5.3 iterates over this set itself, so nothing may leave it in a tick. A tick
        # with nothing to do costs two truth tests.
        self._hub.on_tick.add(self._on_tick)

    # -- who retires

    def _staying(self) -> list[Any]:
        gone = {*self._retiring, *self._exiting}
        return [child for child in self._pool._pool if child not in gone]

    def _retire(self, count: int) -> None:
        """Retire ``count`` children: those not ready yet, then idle ones, then busy ones; youngest first."""
        holders = self._feeding.holders()
        youngest_first = self._staying()[::-1]
        ranked = sorted(
            youngest_first,
            key=lambda child: (self._feeding.is_up(child), self._feeding.holds_job(child, holders)),
        )
        for child in ranked[:count]:
            self._retiring.append(child)
            self._feeding.stop(child)

    def _reclaim(self, count: int) -> None:
        holders = self._feeding.holders()
        for _ in range(min(count, len(self._retiring))):
            self._feeding.resume(self._retiring.pop(), holders)

    # -- how it exits

    def _on_tick(self) -> None:
        if self._retiring:
            self._dismiss_idle()
        if self._starting:
            self._record_ready()
        if self._has_to_start_more and self._spawns and self._free_starts() > 0:
            self._has_to_start_more = False
            self._hub.call_soon(self._pool.maintain_pool)
        if self._admission is not None:
            self._admission.on_tick(self._staying)

    def _dismiss_idle(self) -> None:
        """Send the exit sentinel to retiring children that hold no job, and free their slots."""
        if not self._retiring:
            return
        size, holders = self.size, self._feeding.holders()
        for child in tuple(self._retiring):
            self._feeding.stop(child)  # one that became ready after it retired has only just been entered
            if (
                self._feeding.is_up(child)
                and not self._feeding.holds_job(child, holders)
                and _send_exit(child)
            ):
                self._retiring.remove(child)
                self._exiting.append(child)
        self._fit(size)

    def _record_ready(self) -> None:
        for child in tuple(self._starting):
            if self._feeding.is_up(child):
                self._starting.remove(child)
                self.start_seconds = round(time.monotonic() - child.autoscaler_asked_at, 4)

    def _drop_gone(self) -> None:
        """Forget the children that billiard has collected since."""
        size, present = self.size, set(self._pool._pool)
        for child in self._exiting:
            if child not in present:
                _empty_pipe(child)
                if child.exitcode in {EX_OK, EX_RECYCLE}:
                    # Billiard is about to release a slot for each child it collected, as if a job had died
                    # with it, as one did where a time limit ended the child while it was exiting.
                    self._pool._putlock._waiting.appendleft((absorb, (), {}))
        self._exiting = [child for child in self._exiting if child in present]
        self._retiring = [child for child in self._retiring if child in present]
        self._starting = [child for child in self._starting if child in present]
        self._fit(size)

    # -- the pool's own numbers

    def _fit(self, size: int) -> None:
        """Set the pool's processes, slots and prefetch to ``size`` and what retiring children still hold."""
        processes = size + len(self._retiring)
        change = processes - self._pool._processes
        if change:
            self._pool._processes = processes
            change_prefetch(self._consumer, change)
            change_semaphore(self._pool._putlock, change)

    # -- starts

    def _repopulate(self, exit_codes: list[int]) -> None:
        """Stand in for billiard's own: start what is missing, but nothing for a child that retired."""
        self._drop_gone()
        is_closed = self._admission is not None and self._admission.on_exits(exit_codes, self._staying)
        pool, processes = self._pool, self._pool._processes
        missing = processes + len(self._exiting) - len(pool._pool)
        starts = min(missing, self._free_starts() if self._spawns else len(exit_codes) + self._batch())
        if is_closed:
            starts = 0  # until those that run have ended: a new process takes memory too
        self._has_to_start_more = starts < missing
        if missing <= 0:
            self._grown_at = None
        if starts <= 0:
            return
        before = set(pool._pool)
        pool._processes = len(pool._pool) + starts
        # Only crashes may count against the limit of restarts, not growth that coincides with an exit.
        crashes = [code for code in exit_codes if code not in {EX_OK, EX_RECYCLE}]
        assert self._start_missing is not None  # noqa: S101 - it is what this method stands in for
        began = time.monotonic()
        try:
            pool.on_grow(starts)
            self._start_missing(crashes + [EX_OK] * starts)
        except OSError as fault:
            # Raised, it would pass for a lost broker connection. The pool tries again every 5 s.
            _log.error("pool_resize: a process could not be started, trying again in 5 s: %r", fault)
            self._drop_stillborn()
            return
        finally:
            pool._processes = processes
        self._batch_cost = (time.monotonic() - began) / starts
        self._record_started(child for child in pool._pool if child not in before)
        if starts == missing:
            self._grown_at = None
        elif not self._spawns:
            self._hub.call_later(_NEXT_BATCH_SECONDS, pool.maintain_pool)

    def _free_starts(self) -> int:
        """Processes that may be spawned now.

        Celery kills each that is not up within 4 s (``worker_proc_alive_timeout``) and starts another:
        several that load the application at once on few CPUs would never come up.
        """
        gone = set(self._exiting)
        loading = sum(not self._feeding.is_up(child) for child in self._pool._pool if child not in gone)
        return max(1, len(os.sched_getaffinity(0)) // 2) - loading

    def _batch(self) -> int:
        if self._batch_cost is None:
            return _FIRST_BATCH
        return max(1, min(_MAX_BATCH, int(MAX_BATCH_SECONDS / max(self._batch_cost, 1e-6))))

    def _record_started(self, children: Iterable[Any]) -> None:
        if self._grown_at is not None:
            for child in children:
                child.autoscaler_asked_at = self._grown_at
                self._starting.append(child)

    def _drop_stillborn(self) -> None:
        # Billiard lists a child before it starts it, and fails for good on one that it cannot collect.
        for child in tuple(self._pool._pool):
            if child._popen is None:
                self._pool._process_cleanup_queues(child)
                self._pool._pool.remove(child)


def _send_exit(child: Any) -> bool:
    """Put the sentinel into the child's pipe; False where the pipe is full just now."""
    try:
        child.inq.put(None)
    except BlockingIOError:
        return False
    except OSError:
        pass  # closed: the child is dead and about to be collected
    return True


def _empty_pipe(child: Any) -> None:
    """Take out what a killed child left unread: the next owner of its pipe would obey the sentinel."""
    reader = child.inq._reader
    while not reader.closed and reader.poll(0):
        child.inq.get()
