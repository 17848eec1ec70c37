# ruff: noqa: SLF001 - private attributes are what this module is for
"""Which children of a prefork pool get jobs, and which of them hold one.

What belongs here: the sets in which billiard's pool and Celery's around it keep the pipes to children. What
may never enter: who is to get jobs (:mod:`.prefork`), and a signal.
"""

from __future__ import annotations

from typing import Any


class Feeding:
    """The pipes to one pool's children. A change counts before the loop writes its next job."""

    def __init__(self, pool: Any, hub: Any) -> None:
        self._pool = pool
        self._hub = hub

    def stop(self, child: Any) -> None:
        """Write no new job to ``child``; what is in its pipe or half written goes on."""
        fd = child.inqW_fd
        if not self.is_fed(child):
            return
        self._pool._all_inqueues.discard(fd)
        # The fair strategy compares how many are busy with how many there are: one that is busy and not
        # among them would keep idle children from getting work.
        self._pool._busy_workers.discard(fd)
        if fd not in self._pool._active_writes:
            # A pipe that is nearly always writable would wake the loop for ever. While a job is being
            # written the descriptor belongs to that write, which removes it itself.
            self._hub.remove_writer(fd)

    def resume(self, child: Any, holders: set[Any]) -> None:
        """Write jobs to ``child`` again, from the loop's next tick on; ``holders`` are :meth:`holders`."""
        if self.is_up(child):
            self._pool._all_inqueues.add(child.inqW_fd)
            if self.holds_job(child, holders):
                self._pool._busy_workers.add(child.inqW_fd)

    def is_up(self, child: Any) -> bool:
        """Whether it has started and can be written to."""
        return self._pool._fileno_to_inq.get(child.inqW_fd) is child

    def is_fed(self, child: Any) -> bool:
        """Whether jobs are written to it."""
        return self.is_up(child) and child.inqW_fd in self._pool._all_inqueues

    def holders(self) -> set[Any]:
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

    def holds_job(self, child: Any, holders: set[Any]) -> bool:
        """Whether it holds one; ``holders`` are :meth:`holders`."""
        return child in holders or child.pid in holders or child.inqW_fd in self._pool._active_writes
