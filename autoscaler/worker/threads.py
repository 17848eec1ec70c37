"""Resizes the pool of threads: an executor whose size can change while it works.

What belongs here: the executor, and putting it in the place of Celery's before the first task. What may never
enter: private attributes of :mod:`concurrent.futures`, whose own executor grows only when a task is submitted
and never shrinks.

* A thread takes jobs while there are no more threads than ``size``; an idle one above it ends at once, a
  busy one after its job. Jobs stay in one queue, so none is lost with a thread.
* Threads start when there are jobs for them, as in Celery's own executor.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.utils.log import get_logger

from .slots import change_prefetch

if TYPE_CHECKING:
    from collections.abc import Callable

_log = get_logger(__name__)

#: Seconds between an idle thread's looks at whether the program ends: it must not keep the process alive.
_LOOK_SECONDS = 1.0


class _Job(NamedTuple):
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function(*self.args, **self.kwargs)
        except BaseException as fault:  # noqa: BLE001 - it is the caller's, as in every executor
            self.future.set_exception(fault)
        else:
            self.future.set_result(result)


class ResizableExecutor(Executor):
    """Runs jobs in at most ``size`` threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads: set[threading.Thread] = set()  # Celery reports how many there are under this name
        self._idle = 0
        self._closed = False

    @property
    def size(self) -> int:
        """Threads that may run jobs."""
        return self._size

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a job.

        Raises:
            RuntimeError: after :meth:`shutdown`.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            job = _Job(Future(), function, args, kwargs)
            self._jobs.append(job)
            self._start_threads()
            self._changed.notify()
        return job.future

    def resize(self, size: int) -> None:
        """Make ``size`` (1 or more) the number of threads; returns at once."""
        with self._changed:
            self._size = size
            self._start_threads()
            self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more jobs, and end the threads when those there are have run."""
        with self._changed:
            self._closed = True
            cancelled = tuple(self._jobs) if cancel_futures else ()
            if cancel_futures:
                self._jobs.clear()
            threads = tuple(self._threads)
            self._changed.notify_all()
        for job in cancelled:
            job.future.cancel()
        if wait:
            for thread in threads:
                thread.join()

    def _start_threads(self) -> None:
        # With the lock held. A thread counts as idle from its start until it takes a job.
        for _ in range(min(len(self._jobs) - self._idle, self._size - len(self._threads))):
            thread = threading.Thread(target=self._work, name="autoscaler-pool")
            self._threads.add(thread)
            self._idle += 1
            try:
                thread.start()
            except RuntimeError as fault:
                self._threads.discard(thread)
                self._idle -= 1
                # Raised, Celery would take the job for refused while it is in the queue.
                _log.error("the pool cannot start another thread: %r", fault)
                return

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._next_job()
            if job is None:
                return
            job.run()
            del job  # nothing of it is kept while this thread waits
            with self._changed:
                self._idle += 1

    def _next_job(self) -> _Job | None:
        """The next job, or None where this thread has to end; with the lock held."""
        while not self._has_to_end():
            if self._jobs:
                self._idle -= 1
                return self._jobs.popleft()
            self._changed.wait(_LOOK_SECONDS)
        self._idle -= 1
        self._threads.discard(threading.current_thread())
        self._changed.notify()  # it may have been woken for a job
        return None

    def _has_to_end(self) -> bool:
        if len(self._threads) > self._size:
            return True
        return not self._jobs and (self._closed or not threading.main_thread().is_alive())


def install(consumer: Any) -> None:
    """Put a resizable executor in the place of the pool's, before the first task; later calls do nothing."""
    pool = consumer.pool
    if not isinstance(pool.executor, ResizableExecutor):
        stock = pool.executor
        pool.executor = ResizableExecutor(pool.limit)
        stock.shutdown(wait=False)


def is_installed(consumer: Any) -> bool:
    """Whether :func:`install` was called."""
    return isinstance(consumer.pool.executor, ResizableExecutor)


def resize(consumer: Any, size: int) -> int:
    """Make ``size`` (1 or more) the number of tasks that run at once; the size before."""
    pool = consumer.pool
    was: int = pool.executor.size
    pool.executor.resize(size)
    pool.limit = size
    change_prefetch(consumer, size - was)
    return was
