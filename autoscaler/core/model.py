"""The values that the autoscaler works with: what was read, what was decided, what came of it.

Values only: no I/O, no logger, no clock, no environment, and nothing that is computed from a policy. A value
that could not be read is ``None``, never 0. An illegal value cannot be built. Times are monotonic seconds on
the observer's clock unless a name says otherwise.

What a large fleet has thousands of in each tick is a named tuple, to be built by keywords: several times as
quick to make as a frozen dataclass, and to make anew with a field changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core.reasons import MEANINGS, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = [
    "COMPANION_POOLS",
    "MEANINGS",
    "Action",
    "Bounds",
    "ContainerReading",
    "Decision",
    "Observation",
    "Outcome",
    "Override",
    "PoolKind",
    "QueueReading",
    "Reason",
    "Recommendation",
    "Result",
    "WorkerLayout",
    "WorkerReading",
]


class Action(StrEnum):
    """What a decision does to a worker's pool."""

    GROW = "grow"
    SHRINK = "shrink"
    HOLD = "hold"


class PoolKind(StrEnum):
    """The pool implementation of a worker."""

    PREFORK = "prefork"
    GEVENT = "gevent"
    EVENTLET = "eventlet"
    THREADS = "threads"
    SOLO = "solo"
    OTHER = "other"


#: Pools that can be resized where the worker has the companion; without it, prefork alone.
COMPANION_POOLS = (PoolKind.PREFORK, PoolKind.GEVENT, PoolKind.EVENTLET, PoolKind.THREADS)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReading:
    """One queue, over all its priority steps.

    ``waiting`` counts messages that no worker has fetched; ``oldest_age_seconds`` is the age of the oldest
    of them. ``error`` says in a few words why ``waiting`` is unknown. ``stamps_trusted`` is False where the
    publishing times of its messages cannot be true, and no age is known for that reason. ``waiting_by_step``
    has the count of each of the queue's priority steps, the most urgent first. ``stray_lists`` are lists of
    its priorities that hold messages and that its workers do not read.
    """

    name: str
    waiting: int | None
    oldest_age_seconds: float | None = None
    error: str | None = None
    stamps_trusted: bool = True
    waiting_by_step: tuple[int, ...] = field(default=(), compare=False)
    stray_lists: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.waiting is not None and self.waiting < 0:
            raise ValueError(f"queue {self.name!r}: waiting is {self.waiting}; it is 0 or more, or None")


class ContainerReading(NamedTuple):
    """What a worker's container allows and uses.

    ``cpu_limit_cores`` and ``memory_limit_bytes`` are effective: where no limit is set they are the
    machine's. ``cpu_limited`` is True where a quota or a cpuset narrows the machine. ``cpu_usage_seconds``
    and ``throttled_seconds`` only ever grow; from two readings come ``cpu_usage_ratio``, the share of the CPU
    limit in use, and ``cpu_throttled_ratio``, the share of time in which the kernel held the container back.
    ``child_rss_bytes`` has one entry for each pool process.

    ``child_peak_bytes`` is the highest that a pool process ever held and ``child_peak_p95_bytes`` what 95 %
    of them did not exceed, dead ones too; ``child_shared_bytes`` is the part that a further process does not
    need. ``worker_memory_bytes`` is held by the worker's own processes, and ``memory_shared`` tells whether
    other processes live under the same limit. ``oom_kills`` and ``memory_failcnt`` (the limit was hit) only
    ever grow; ``memory_pressure`` is a share of time. Workers with one ``container_id`` share one memory
    limit, those with one ``cpu_limit_id`` one CPU limit.
    ``memory_limit_stated`` is True where the limit is an operator's and not that of the group whose use
    ``memory_used_bytes`` is.
    """

    cpu_limit_cores: float | None = None
    cpu_limited: bool = False
    cpu_usage_seconds: float | None = None
    throttled_seconds: float | None = None
    memory_limit_bytes: int | None = None
    memory_limited: bool = False
    memory_limit_stated: bool = False
    memory_used_bytes: int | None = None
    parent_rss_bytes: int | None = None
    child_rss_bytes: tuple[int, ...] = ()
    child_peak_bytes: int | None = None
    child_peak_p95_bytes: int | None = None
    child_shared_bytes: int | None = None
    worker_memory_bytes: int | None = None
    memory_shared: bool | None = None
    oom_kills: int | None = None
    memory_failcnt: int | None = None
    memory_pressure: float | None = None
    container_id: str | None = None
    cpu_limit_id: str | None = None
    # The last two are not read but computed, for each worker in each tick.
    cpu_usage_ratio: float | None = None
    cpu_throttled_ratio: float | None = None

    def with_rates(self, usage: float | None, throttled: float | None) -> ContainerReading:
        """The same with these rates: several times as quick as ``_replace``."""
        return ContainerReading._make((*self[:-2], usage, throttled))

    @property
    def own_memory_bytes(self) -> int | None:
        """What the worker's own processes hold; where only resident sizes are known, their sum.

        That sum counts shared pages more than once.
        """
        if self.worker_memory_bytes is not None or self.parent_rss_bytes is None:
            return self.worker_memory_bytes
        return self.parent_rss_bytes + sum(self.child_rss_bytes)

    @property
    def memory_usage_ratio(self) -> float | None:
        """Share of the memory limit that the worker uses, or None where either is unknown.

        Use and limit belong to the same thing: the group's, or the worker's own where others share the group
        or the limit is not the group's.
        """
        own = self.memory_shared or self.memory_limit_stated
        used = self.own_memory_bytes if own else self.memory_used_bytes
        return used / self.memory_limit_bytes if self.memory_limit_bytes and used is not None else None

    @property
    def limited_use_bytes(self) -> int | None:
        """What counts against the limit: the group's use, or the worker's own below a stated limit."""
        return self.own_memory_bytes if self.memory_limit_stated else self.memory_used_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLayout:
    """Where a worker keeps things in Redis and how it is configured, as its companion reports it.

    None or empty where it does not say. ``contract`` is the version of the companion's commands;
    ``private_queues`` are those that no other worker can consume (broadcast, direct).
    """

    contract: int | None = None
    separator: str | None = None
    priority_steps: tuple[int, ...] = ()
    global_keyprefix: str | None = None
    unacked_key: str | None = None
    visibility_timeout_seconds: float | None = None
    control_exchange: str | None = None
    eta_task_limit: int | None = None
    prefetch_disabled: bool | None = None
    serializer: str | None = None
    accept: tuple[str, ...] = ()
    private_queues: tuple[str, ...] = ()
    start_method: str | None = None


class WorkerReading(NamedTuple):
    """One worker as it answered in this tick.

    ``processes`` is the size the pool is set to: those that take work. ``retiring`` counts children that a
    resize has retired and that still finish a task. ``busy`` counts tasks that run (in retiring children
    too), ``reserved`` those fetched and not yet running, ``scheduled`` those that wait for their ETA,
    ``completed`` all that ended since the worker started. ``start_seconds`` is the time its last new process
    took from the resize to being ready. ``queues`` are those it consumes now, if ``queues_known``.
    ``rate_limited`` counts tasks that wait for their rate limit, in none of the others; ``discarded`` those
    revoked or expired before they ran. ``late_running_seconds`` is for how long the oldest task has been
    running whose message is not acknowledged, ``memory_wait_seconds`` for how long tasks have been waiting
    for room in memory while processes are idle. ``consuming`` is whether the broker sends it tasks,
    ``reconnects`` how often it has connected anew. ``resizers`` are (name, seconds since) of who resized it
    lately, None where the companion takes no names.
    """

    name: str
    processes: int | None
    pool: PoolKind = PoolKind.PREFORK
    retiring: int = 0
    busy: int | None = None
    reserved: int | None = None
    scheduled: int | None = None
    completed: int | None = None
    uptime_seconds: float | None = None
    prefetch: int | None = None
    queues_known: bool = True
    autoscale: bool = False
    companion: bool = False
    companion_refusal: str | None = None
    start_seconds: float | None = None
    layout: WorkerLayout | None = None
    resizers: tuple[tuple[str, float], ...] | None = None
    rate_limited: int | None = None
    discarded: int | None = None
    consuming: bool | None = None
    reconnects: int | None = None
    late_running_seconds: float | None = None
    memory_wait_seconds: float | None = None
    # The last two are not always those of the reply, but what is known of the worker.
    queues: tuple[str, ...] = ()
    container: ContainerReading | None = None

    def known_by(self, queues: tuple[str, ...], container: ContainerReading | None) -> WorkerReading:
        """The same with these: several times as quick as ``_replace``."""
        return WorkerReading._make((*self[:-2], queues, container))

    @property
    def unsupported(self) -> str | None:
        """Why this worker cannot be resized, in one sentence, or None where it can."""
        if self.autoscale:
            return "it runs with --autoscale, which does its own resizing; start it without"
        if self.pool not in COMPANION_POOLS:
            return f"its {self.pool} pool cannot be resized; use --pool prefork, threads, gevent or eventlet"
        if self.companion or self.pool is PoolKind.PREFORK:
            return None
        # Celery before 5.7 loses count of a green pool that it grew, so that each growth would be followed by
        # another one, beyond any maximum; only the companion says which Celery it is.
        if self.companion_refusal:
            return f"its {self.pool} pool cannot be resized: {self.companion_refusal}"
        return f"its {self.pool} pool cannot be resized without the companion; load it, or use --pool prefork"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an administrator asked for, as it is now; expired parts are already left out.

    The ends are epoch seconds, None where a part never expires. They are for reports and decide nothing, so
    two overrides that differ in them alone are equal.
    """

    paused: bool = False
    min_processes: int | None = None
    max_processes: int | None = None
    held_workers: frozenset[str] = frozenset()
    by: str | None = None
    why: str | None = None
    paused_until: float | None = field(default=None, compare=False)
    limits_until: float | None = field(default=None, compare=False)
    held_until: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that was seen in one tick, at ``at`` monotonic seconds.

    ``workers`` holds those that answered; one that was asked and did not answer is left out. ``outcomes`` are
    those of the actions that were sent since the observation before, in the order in which they were sent.
    """

    at: float
    queues: tuple[QueueReading, ...] = ()
    workers: tuple[WorkerReading, ...] = ()
    override: Override = Override()
    leader: bool = True
    outcomes: tuple[Outcome, ...] = ()


class Recommendation(NamedTuple):
    """The size that the demand recommends, in processes, before any bound.

    ``before_delays`` is what the load alone asks for: the stabilization window remembers it.
    """

    processes: int
    reason: Reason
    before_delays: int


class Bounds(NamedTuple):
    """The bounds that a decision was made within, in processes of one worker, an override applied.

    ``max_processes`` is None where it is automatic and no limit is known; ``max_reason`` is what a target
    that ends there is called. ``cpu_processes`` and ``memory_processes`` are what fits in the container's
    limits, None where none is set or known; ``breach_processes`` is what holds after the memory limit was
    exceeded. These beat ``min_processes``.
    """

    min_processes: int
    max_processes: int | None
    max_reason: Reason = Reason.AT_MAX
    cpu_processes: int | None = None
    memory_processes: int | None = None
    breach_processes: int | None = None

    def by_name(self) -> dict[str, int]:
        """The bounds that are known by their public names, such as ``min`` and ``memory``."""
        named = {
            "min": self.min_processes,
            "max": self.max_processes,
            "cpu": self.cpu_processes,
            "memory": self.memory_processes,
            "memory_breach": self.breach_processes,
        }
        return {name: processes for name, processes in named.items() if processes is not None}


class Decision(NamedTuple):
    """The decision on one worker in one tick. All sizes are processes.

    ``desired`` is the size that the policy arrives at and ``desired_reason`` why. ``target`` is the size to
    make true now and ``reason`` why: they differ from the former two where something prevents the action
    (paused, dry run, another leader). ``current`` is None where the worker did not report its size.
    ``bounds`` are those that were applied, None for a worker that was never seen.
    """

    worker: str
    current: int | None
    desired: int | None
    desired_reason: Reason
    target: int | None
    reason: Reason
    bounds: Bounds | None = None

    @property
    def action(self) -> Action:
        """The direction of the change that is to be made now."""
        if self.current is None or self.target is None or self.target == self.current:
            return Action.HOLD
        return Action.GROW if self.target > self.current else Action.SHRINK


class Result(StrEnum):
    """What is known of an action: the label of ``celery_autoscaler_actions_total``."""

    DONE = "done"  # the worker answered that it did it
    REFUSED = "refused"  # the worker answered that it did not
    BEGUN = "begun"  # the worker is being emptied first; the shrink follows
    UNKNOWN = "unknown"  # no answer, or the broker failed on the way: it may still happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One action and what came of it; ``detail`` is the worker's or the broker's message where it failed.

    ``before`` is None where the size could not be read.
    ``sent_at`` is when the action was sent and its reply collected, None until the loop has said so.
    ``settles_at`` is when an action that takes its time must have ended.
    """

    worker: str
    before: int | None
    target: int
    command: str
    result: Result
    detail: str | None = None
    sent_at: float | None = None
    settles_at: float | None = None

    @property
    def action(self) -> Action:
        """The direction of the change."""
        if self.before is None or self.target == self.before:
            return Action.HOLD
        return Action.GROW if self.target > self.before else Action.SHRINK
