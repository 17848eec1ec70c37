"""What is tried: each scenario is one worker's settings, its tasks and what goes wrong meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


class Acks(StrEnum):
    EARLY = "early"
    LATE = "late"
    REJECT = "reject"  # late, and given back to the broker when the process is lost


class Pool(StrEnum):
    PREFORK = "prefork"
    GEVENT = "gevent"
    EVENTLET = "eventlet"
    THREADS = "threads"


class Load(StrEnum):
    FULL = "full"  # more tasks wait than any size can take
    HALF = "half"  # about half of the processes are busy


class Work(StrEnum):
    NONE = "0 ms"
    SHORT = "50 ms"
    MIXED = "mixed to 3 s"


class Trouble(StrEnum):
    NOTHING = "-"
    SOFT_LIMIT = "soft limit"
    HARD_LIMIT = "hard limit"
    KILL = "kill -9"
    BROKER = "broker restart"
    CUT = "connections cut"
    WORKER = "worker restart"
    POOL_RESTART = "pool restart"


#: Generous, since the machine may be slow: the tasks that hit them take much longer, all others much less.
SOFT_LIMIT_SECONDS = 1.5
HARD_LIMIT_SECONDS = 2.0
_BEYOND_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task to send; ``ends`` is whether its end is to be seen in the ledger."""

    seconds: float
    soft_time_limit: float | None = None
    time_limit: float | None = None
    ends: bool = True
    retries: int = 0
    countdown: float | None = None
    mebibytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    acks: Acks = Acks.EARLY
    prefetch: int = 4
    load: Load = Load.FULL
    work: Work = Work.SHORT
    max_tasks_per_child: int | None = None
    trouble: Trouble = Trouble.NOTHING
    pool: Pool = Pool.PREFORK
    spawns: bool = False  # worker_pool_start_method = "spawn", of Celery 5.7
    max_kilobytes_per_child: int | None = None
    prefetches: bool = True  # else worker_disable_prefetch, of Celery 5.6
    returns: bool = False  # some tasks have a countdown, some are retried after one
    mebibytes: int = 0  # held by each task, in a group without room for the largest pool of them

    def __str__(self) -> str:
        recycled = f", {self.max_tasks_per_child} tasks a child" if self.max_tasks_per_child else ""
        recycled += f", {self.max_kilobytes_per_child} kB a child" if self.max_kilobytes_per_child else ""
        recycled += "" if self.prefetches else ", prefetch disabled"
        recycled += ", retries and countdowns" if self.returns else ""
        recycled += f", {self.mebibytes} MiB a task" if self.mebibytes else ""
        trouble = "" if self.trouble is Trouble.NOTHING else f", {self.trouble}"
        pool = "" if self.pool is Pool.PREFORK else f"{self.pool}, "
        pool += "spawn, " if self.spawns else ""
        return (
            f"{pool}acks {self.acks}, prefetch {self.prefetch}, {self.load}, {self.work}{recycled}{trouble}"
        )

    def draw(self, chance: random.Random) -> Task:
        """One task of this scenario."""
        if self.trouble is Trouble.SOFT_LIMIT and chance.random() < 0.05:
            return Task(seconds=_BEYOND_LIMIT_SECONDS, soft_time_limit=SOFT_LIMIT_SECONDS)
        if self.trouble is Trouble.HARD_LIMIT and chance.random() < 0.05:
            return Task(seconds=_BEYOND_LIMIT_SECONDS, time_limit=HARD_LIMIT_SECONDS, ends=False)
        task = Task(seconds=self._seconds(chance), mebibytes=self.mebibytes)
        if not self.returns:
            return task
        retries, countdown = chance.choice((0, 0, 1, 2)), chance.choice((None, None, 0.5, 2.0))
        return replace(task, retries=retries, countdown=countdown)

    def _seconds(self, chance: random.Random) -> float:
        match self.work:
            case Work.NONE:
                return 0
            case Work.SHORT:
                return 0.05
            case Work.MIXED:
                return chance.choices((0.02, 0.1, 0.5, 3.0), (70, 20, 7, 3))[0]


#: The whole matrix; the run divides its resizes evenly over them.
SCENARIOS = (
    Scenario(prefetch=4),
    Scenario(prefetch=1),
    Scenario(prefetch=0),
    Scenario(acks=Acks.LATE, prefetch=4),
    Scenario(acks=Acks.LATE, prefetch=1, work=Work.MIXED),
    Scenario(acks=Acks.REJECT, prefetch=4),
    Scenario(acks=Acks.REJECT, prefetch=0, work=Work.MIXED),
    Scenario(work=Work.NONE),
    Scenario(acks=Acks.LATE, prefetch=1, work=Work.NONE),
    Scenario(load=Load.HALF),
    Scenario(acks=Acks.REJECT, prefetch=1, load=Load.HALF, work=Work.MIXED),
    Scenario(max_tasks_per_child=5),
    Scenario(acks=Acks.REJECT, prefetch=1, max_tasks_per_child=5),
    Scenario(trouble=Trouble.SOFT_LIMIT),
    Scenario(trouble=Trouble.HARD_LIMIT),
    Scenario(acks=Acks.LATE, prefetch=1, trouble=Trouble.HARD_LIMIT),
    Scenario(work=Work.MIXED, trouble=Trouble.KILL),
    Scenario(acks=Acks.REJECT, prefetch=1, work=Work.MIXED, trouble=Trouble.KILL),
    Scenario(work=Work.MIXED, trouble=Trouble.BROKER),
    Scenario(acks=Acks.LATE, work=Work.MIXED, trouble=Trouble.BROKER),
    Scenario(work=Work.MIXED, trouble=Trouble.CUT),
    Scenario(acks=Acks.LATE, prefetch=1, work=Work.MIXED, trouble=Trouble.CUT),
    Scenario(trouble=Trouble.WORKER),
    Scenario(acks=Acks.LATE, prefetch=1, work=Work.MIXED, trouble=Trouble.WORKER),
    Scenario(prefetch=1, work=Work.MIXED, trouble=Trouble.POOL_RESTART),
    Scenario(pool=Pool.GEVENT),
    Scenario(pool=Pool.GEVENT, acks=Acks.LATE, prefetch=1, work=Work.MIXED),
    Scenario(pool=Pool.THREADS),
    Scenario(pool=Pool.THREADS, acks=Acks.LATE, prefetch=1, work=Work.MIXED),
    Scenario(pool=Pool.THREADS, work=Work.NONE),
    Scenario(spawns=True, prefetch=1, work=Work.MIXED),
    Scenario(acks=Acks.LATE, max_tasks_per_child=1),
    Scenario(prefetch=1, max_tasks_per_child=1, returns=True),
    Scenario(acks=Acks.LATE, prefetch=1, max_kilobytes_per_child=1),
    Scenario(acks=Acks.LATE, prefetch=1, prefetches=False, work=Work.MIXED),
    Scenario(acks=Acks.LATE, prefetch=4, returns=True),
)

#: In a control group whose memory is short, so that the worker holds tasks back. Needs root and groups of v1.
MEMORY = (
    Scenario(acks=Acks.LATE, prefetch=4, mebibytes=60),
    Scenario(prefetch=1, work=Work.MIXED, mebibytes=60),
    Scenario(acks=Acks.REJECT, prefetch=4, max_tasks_per_child=5, mebibytes=60),
    Scenario(acks=Acks.LATE, prefetch=4, returns=True, mebibytes=60),
    Scenario(spawns=True, prefetch=1, mebibytes=60),
)

#: Late acknowledgements with retries and countdowns, for as many tasks as are asked for.
LONG = Scenario(acks=Acks.LATE, prefetch=4, work=Work.SHORT, returns=True)

#: Where ours is set against stock commands and ``--autoscale``, in the same run.
COMPARED = (
    Scenario(prefetch=4),
    Scenario(prefetch=1),
    Scenario(acks=Acks.LATE, prefetch=4),
    Scenario(acks=Acks.REJECT, prefetch=4),
    Scenario(load=Load.HALF),
)

#: What a test run has time for.
SLICE = (
    Scenario(acks=Acks.REJECT, prefetch=4),
    Scenario(prefetch=1, work=Work.MIXED),
    Scenario(work=Work.NONE, max_tasks_per_child=20),
    Scenario(trouble=Trouble.HARD_LIMIT),
    Scenario(acks=Acks.REJECT, prefetch=1, work=Work.MIXED, trouble=Trouble.KILL),
    Scenario(acks=Acks.LATE, work=Work.MIXED, trouble=Trouble.CUT),
    Scenario(pool=Pool.GEVENT, prefetch=1, work=Work.MIXED),
    Scenario(pool=Pool.THREADS, work=Work.NONE),
)

#: What each supported version of Celery is put through. One before 5.6 ignores ``prefetches=False``.
VERSIONS = (
    Scenario(acks=Acks.LATE, prefetch=4, returns=True),
    Scenario(max_tasks_per_child=1, load=Load.HALF),
    Scenario(acks=Acks.REJECT, prefetch=1, max_kilobytes_per_child=1, load=Load.HALF),
    Scenario(acks=Acks.LATE, prefetch=1, prefetches=False),
)
