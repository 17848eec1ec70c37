# ruff: noqa: SLF001 - private attributes are what this module is for
"""Resizes Celery's prefork pool inside its worker without a signal and without losing a task.

The law of this module: it is the only place that touches private attributes of Celery, kombu and billiard.
:func:`missing_parts` says which of them a version lacks; nothing else here may run where it finds one.
It runs in the worker's event loop alone, so nothing needs a lock, and nothing here may block.

How a child leaves, and why each step is as it is:

* It is *given up*: no new job is written to it. What it runs, what lies in its pipe and what is half written
  goes on. It still counts in the pool's own size, semaphore and prefetch: it holds a slot of each, and the
  children that stay would starve if its slot were taken before it is free. Until it leaves it can be taken
  back, which costs nothing.
* Once it holds no job it is *told to leave*: the sentinel that ends a child at shutdown goes into its pipe,
  behind anything that a broker reconnect has made the pool forget. Now its slot goes.
* When it is gone the pool must not replace it. Billiard forks whatever ``_processes`` says is missing in the
  same breath in which it collects a dead child, hence the one method replaced here.

A child can only become idle by an event of the loop (a result, a finished write, a death), and after each
event the loop calls its tick callbacks: so nothing polls, and no timer has to survive a reconnect (Celery
5.3 clears them all).
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from billiard.pool import EX_OK, EX_RECYCLE, RUN, ApplyResult
from celery.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = get_logger(__name__)

#: Children forked before the loop gets its turn again. A fork of a large parent, with the garbage collection
#: that Celery does before it, takes 5 to 50 ms, in which no result and no command is read.
FORKS_AT_ONCE = 4
_NEXT_FORKS_SECONDS = 0.01

_ATTRIBUTE = "_autoscaler_resizer"

#: Path from the consumer, and what has to be found there.
_PARTS: tuple[tuple[str, type | Callable[[object], bool]], ...] = (
    ("hub.on_tick", set),
    ("hub.call_soon", callable),
    ("hub.call_later", callable),
    ("hub.remove_writer", callable),
    ("prefetch_multiplier", int),
    ("initial_prefetch_count", int),
    ("pool._pool._pool", list),
    ("pool._pool._processes", int),
    ("pool._pool._state", int),
    ("pool._pool._cache", dict),
    ("pool._pool._queues", dict),
    ("pool._pool._all_inqueues", set),
    ("pool._pool._busy_workers", set),
    ("pool._pool._active_writes", set),
    ("pool._pool._fileno_to_inq", dict),
    ("pool._pool.outbound_buffer", deque),
    ("pool._pool.maintain_pool", callable),
    ("pool._pool._process_cleanup_queues", callable),
    ("pool._pool._repopulate_pool", lambda found: _takes(found, 1)),
    ("pool._pool.on_grow", lambda found: _takes(found, 1)),
    ("pool._pool._putlock.initial_value", int),
    ("pool._pool._putlock.value", int),
    ("pool._pool._putlock._waiting", deque),
    ("pool._pool._putlock.release", callable),
)
#: The same of each child process, and of the class of the pool's jobs.
_CHILD_PARTS: tuple[tuple[str, type | Callable[[object], bool]], ...] = (
    ("pid", int),
    ("inqW_fd", int),
    ("inq.put", callable),
    ("inq.get", callable),
    ("inq._reader.poll", callable),
    ("inq._reader.closed", bool),
    ("_popen", object),
)
_JOB_PARTS: tuple[tuple[str, type | Callable[[object], bool]], ...] = (
    ("_write_to", object),
    ("_scheduled_for", object),
    ("worker_pids", callable),
)


def missing_parts(consumer: Any) -> tuple[str, ...]:
    """What :class:`PreforkResizer` leans on and this worker does not have, as dotted paths.

    A part that is there with another shape (a list in place of a set, another number of arguments) is
    missing too.
    """
    found = _lacking(consumer, _PARTS, "consumer")
    found += _lacking(ApplyResult, _JOB_PARTS, "ApplyResult")
    if not found:
        for child in consumer.pool._pool._pool[:1]:
            found += _lacking(child, _CHILD_PARTS, "child")
    return tuple(found)


def _lacking(
    owner: Any, parts: Iterable[tuple[str, type | Callable[[object], bool]]], name: str
) -> list[str]:
    lacking = []
    for path, shape in parts:
        try:
            found = attrgetter(path)(owner)
        except AttributeError:
            lacking.append(f"{name}.{path}")
            continue
        fits = isinstance(found, shape) if isinstance(shape, type) else shape(found)
        if not fits:
            lacking.append(f"{name}.{path}")
    return lacking


def _takes(function: object, arguments: int) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


def resizer_of(consumer: Any) -> PreforkResizer:
    """The resizer of this worker's pool; it changes nothing in the pool before its first resize.

    :func:`missing_parts` has to be empty.
    """
    pool = consumer.pool._pool
    resizer: PreforkResizer | None = getattr(pool, _ATTRIBUTE, None)
    if resizer is None:
        resizer = PreforkResizer(consumer)
        setattr(pool, _ATTRIBUTE, resizer)
    return resizer


def change_prefetch(consumer: Any, processes: int) -> None:
    """Raise or lower what the consumer may fetch ahead by what ``processes`` more or fewer of them bring."""
    if not consumer.initial_prefetch_count:
        return  # unlimited
    each = consumer.prefetch_multiplier
    consumer.initial_prefetch_count = consumer.pool.num_processes * each
    qos = consumer.qos
    if qos is not None and qos.value:
        # Set, not decremented: after a reconnect Celery starts with a lower count and raises it in steps of
        # `each` up to exactly the full one, which a floor of 1 would make it miss.
        qos.value = max(qos.value + processes * each, each)


def child_pids(consumer: Any) -> list[int]:
    """The process ids of the pool's children, retiring ones too."""
    return [child.pid for child in consumer.pool._pool._pool if child.pid]


class PreforkResizer:
    """One prefork pool and the children it has given up.

    ``start_seconds`` is the time from the last resize that forked to the readiness of its last new child.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._hub = consumer.hub
        self._pool = consumer.pool._pool
        self._given_up: list[Any] = []  # take no new job; may be taken back
        self._leaving: list[Any] = []  # told to leave, not yet collected
        self._starting: list[Any] = []  # forked by a resize, not yet ready
        self._grown_at: float | None = None
        self.start_seconds: float | None = None
        self._fork_missing: Callable[[list[int]], None] | None = None  # billiard's own, once it is replaced

    @property
    def size(self) -> int:
        """Processes that the pool is set to, those given up left out.

        Derived, not stored: a stock ``pool_grow`` of somebody else is then simply part of it.
        """
        size: int = self._pool._processes - len(self._given_up)
        return size

    @property
    def retiring(self) -> int:
        """Children given up that have not ended yet."""
        return len(self._given_up) + len(self._leaving)

    @property
    def ready(self) -> int:
        """Children that have said they take work, those given up left out."""
        return sum(self._is_up(child) for child in self._kept())

    @property
    def running(self) -> bool:
        """Whether the pool still takes work: not while the worker shuts down."""
        return bool(self._pool._state == RUN)

    def resize(self, size: int) -> None:
        """Make ``size`` (1 or more) the number of children that take work.

        Returns at once: children are forked after the caller has answered, and busy ones leave when done.
        """
        if self._fork_missing is None:
            self._install()
        surplus = len(self._kept()) - size
        if surplus > 0:
            self._give_up(surplus)
        elif surplus < 0:
            self._take_back(-surplus)
        self._fit(size)
        self._release_idle()
        if len(self._kept()) < size:
            self._grown_at = time.monotonic()
            self._hub.call_soon(self._pool.maintain_pool)

    def _install(self) -> None:
        # Only now: a worker that is never resized is left as it is.
        self._fork_missing = self._pool._repopulate_pool
        self._pool._repopulate_pool = self._repopulate
        # For good: kombu 5.3 iterates over this set itself, so nothing may leave it in a tick. A tick
        # with nothing to do costs two truth tests.
        self._hub.on_tick.add(self._on_tick)

    # -- who leaves

    def _kept(self) -> list[Any]:
        gone = {*self._given_up, *self._leaving}
        return [child for child in self._pool._pool if child not in gone]

    def _give_up(self, count: int) -> None:
        """Give up ``count`` children: those not ready yet, then idle ones, then busy ones; youngest first."""
        holders = self._holders()
        youngest_first = self._kept()[::-1]
        ranked = sorted(
            youngest_first, key=lambda child: (self._is_up(child), self._holds_job(child, holders))
        )
        for child in ranked[:count]:
            self._given_up.append(child)
            self._bar(child)

    def _take_back(self, count: int) -> None:
        holders = self._holders()
        for _ in range(min(count, len(self._given_up))):
            child = self._given_up.pop()
            if self._is_up(child):
                self._pool._all_inqueues.add(child.inqW_fd)
                if self._holds_job(child, holders):
                    self._pool._busy_workers.add(child.inqW_fd)

    def _bar(self, child: Any) -> None:
        """See to it that no new job is written to ``child``."""
        fd = child.inqW_fd
        if not self._is_up(child) or fd not in self._pool._all_inqueues:
            return
        self._pool._all_inqueues.discard(fd)
        # The fair strategy compares how many are busy with how many there are: one that is busy and not
        # among them would keep idle children from getting work.
        self._pool._busy_workers.discard(fd)
        if fd not in self._pool._active_writes:
            # A pipe that is nearly always writable would wake the loop for ever. While a job is being
            # written the descriptor belongs to that write, which removes it itself.
            self._hub.remove_writer(fd)

    def _is_up(self, child: Any) -> bool:
        return self._pool._fileno_to_inq.get(child.inqW_fd) is child

    def _holders(self) -> set[Any]:
        """The children and process ids that hold a job, be it only on its way to them."""
        waiting = set(map(id, self._pool.outbound_buffer))
        holders: set[Any] = set()
        for job in self._pool._cache.values():
            # A job put back after its child died still names a child, even a new one with the same pipe.
            if id(job) not in waiting:
                holders.update(
                    (getattr(job, "_write_to", None), getattr(job, "_scheduled_for", None)), job.worker_pids()
                )
        return holders

    def _holds_job(self, child: Any, holders: set[Any]) -> bool:
        return child in holders or child.pid in holders or child.inqW_fd in self._pool._active_writes

    # -- how it leaves

    def _on_tick(self) -> None:
        if self._given_up:
            self._release_idle()
        if self._starting:
            self._note_ready()

    def _release_idle(self) -> None:
        """Tell the given-up children that hold no job to leave, and free their slots."""
        if not self._given_up:
            return
        size, holders = self.size, self._holders()
        for child in tuple(self._given_up):
            self._bar(child)  # one that became ready after it was given up has only just been entered
            if self._is_up(child) and not self._holds_job(child, holders) and _tell_to_leave(child):
                self._given_up.remove(child)
                self._leaving.append(child)
        self._fit(size)

    def _note_ready(self) -> None:
        for child in tuple(self._starting):
            if self._is_up(child):
                self._starting.remove(child)
                self.start_seconds = round(time.monotonic() - child.autoscaler_asked_at, 4)

    def _drop_gone(self) -> None:
        """Forget the children that billiard has collected since."""
        size, present = self.size, set(self._pool._pool)
        for child in self._leaving:
            if child not in present:
                _empty_pipe(child)
                if child.exitcode in {EX_OK, EX_RECYCLE}:
                    # Billiard is about to release a slot for each child it collected, as if a job had died
                    # with it, as one did where a time limit ended the child while it was told to leave.
                    self._pool._putlock._waiting.appendleft((_absorb, (), {}))
        self._leaving = [child for child in self._leaving if child in present]
        self._given_up = [child for child in self._given_up if child in present]
        self._starting = [child for child in self._starting if child in present]
        self._fit(size)

    # -- the pool's own numbers

    def _fit(self, size: int) -> None:
        """Set the pool's processes, slots and prefetch to ``size`` and what given-up children still hold."""
        processes = size + len(self._given_up)
        change = processes - self._pool._processes
        if change:
            self._pool._processes = processes
            change_prefetch(self._consumer, change)
            self._change_semaphore(change)

    def _change_semaphore(self, change: int) -> None:
        # Exactly, unlike its own grow (which gives one slot to two) and shrink (which forgets the slot when
        # none is free).
        semaphore = self._pool._putlock
        semaphore.initial_value += change
        for _ in range(change):
            semaphore.release()
        for _ in range(-change):
            if semaphore.value > 0:
                semaphore.value -= 1
            else:
                semaphore._waiting.appendleft((_absorb, (), {}))

    # -- forks

    def _repopulate(self, exit_codes: list[int]) -> None:
        """Stand in for billiard's own: fork what is missing, but nothing for a child that was given up."""
        self._drop_gone()
        pool, processes = self._pool, self._pool._processes
        missing = processes + len(self._leaving) - len(pool._pool)
        forks = min(missing, len(exit_codes) + FORKS_AT_ONCE)
        if forks <= 0:
            self._grown_at = None
            return
        before = set(pool._pool)
        pool._processes = len(pool._pool) + forks
        # Only crashes may count against the limit of restarts, not growth that coincides with an exit.
        crashes = [code for code in exit_codes if code not in {EX_OK, EX_RECYCLE}]
        assert self._fork_missing is not None  # noqa: S101 - it is what this method stands in for
        try:
            pool.on_grow(forks)
            self._fork_missing(crashes + [EX_OK] * forks)
        except OSError as fault:
            # Raised, it would pass for a lost broker connection. The pool tries again every 5 s.
            _log.error("pool_resize: a process could not be forked, trying again in 5 s: %r", fault)
            self._drop_stillborn()
            return
        finally:
            pool._processes = processes
        self._note_forked(child for child in pool._pool if child not in before)
        if forks < missing:
            self._hub.call_later(_NEXT_FORKS_SECONDS, pool.maintain_pool)
        else:
            self._grown_at = None

    def _note_forked(self, children: Iterable[Any]) -> None:
        if self._grown_at is not None:
            for child in children:
                child.autoscaler_asked_at = self._grown_at
                self._starting.append(child)

    def _drop_stillborn(self) -> None:
        # Billiard lists a child before it forks it, and fails for good on one that it cannot collect.
        for child in tuple(self._pool._pool):
            if child._popen is None:
                self._pool._process_cleanup_queues(child)
                self._pool._pool.remove(child)


def _tell_to_leave(child: Any) -> bool:
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


def _absorb() -> None:
    """Take a freed slot and do nothing with it."""
