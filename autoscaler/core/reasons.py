"""The reasons of decisions and what each of them means: words, and nothing that decides."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a worker's target is what it is: the same word in log, metrics, status and tests."""

    STEADY = "steady"
    LOAD_HIGH = "load_high"
    LOAD_LOW = "load_low"
    LATENCY = "latency"
    DELAYED = "delayed"
    STABILIZING = "stabilizing"
    COOLDOWN = "cooldown"
    STEP = "step"
    AT_MIN = "at_min"
    AT_MAX = "at_max"
    CPU_CEILING = "cpu_ceiling"
    CPU_PRESSURE = "cpu_pressure"
    MEMORY_CEILING = "memory_ceiling"
    MEMORY_PRESSURE = "memory_pressure"
    MEMORY_BREACH = "memory_breach"
    MACHINE = "machine"
    UNKNOWN_LIMIT = "unknown_limit"
    UNKNOWN_SIZE = "unknown_size"
    RATE_LIMITED = "rate_limited"
    NOT_CONSUMING = "not_consuming"
    STALE = "stale"
    PEER_UNRESPONSIVE = "peer_unresponsive"
    OUTSTANDING = "outstanding"
    REFUSED = "refused"
    SHRINK_LIMITED = "shrink_limited"
    UNSUPPORTED = "unsupported"
    PAUSED = "paused"
    HELD = "held"
    NOT_LEADER = "not_leader"
    YIELDING = "yielding"
    DRY_RUN = "dry_run"
    DISABLED = "disabled"


#: What each reason means: for the documentation, the demo and ``autoscaler once``.
MEANINGS = {
    Reason.STEADY: "the load is between the thresholds, or the size is already right",
    Reason.LOAD_HIGH: "more tasks per process than the upper threshold",
    Reason.LOAD_LOW: "fewer tasks per process than the lower threshold",
    Reason.LATENCY: "the size at which waiting tasks start within the target wait",
    Reason.DELAYED: "beyond a threshold, but not yet for long enough",
    Reason.STABILIZING: "a larger size was recommended within the stabilization window",
    Reason.COOLDOWN: "the size changed too recently",
    Reason.STEP: "limited by the largest step of one action",
    Reason.AT_MIN: "limited by the configured minimum",
    Reason.AT_MAX: "limited by the configured maximum",
    Reason.CPU_CEILING: "limited by the container's CPU limit",
    Reason.CPU_PRESSURE: "the container's CPU is used up: growing would not help",
    Reason.MEMORY_CEILING: "limited by the memory limit: more processes at their peak would not fit",
    Reason.MEMORY_PRESSURE: "memory is nearly used up: shrink before the OOM killer acts",
    Reason.MEMORY_BREACH: "the memory limit was exceeded at a larger size; it is tried again later",
    Reason.MACHINE: "max is auto and no limit is set: limited by what the machine has",
    Reason.UNKNOWN_LIMIT: "max is auto and no limit of the container could be read",
    Reason.UNKNOWN_SIZE: "the worker did not report its size in this tick",
    Reason.RATE_LIMITED: "tasks wait for their rate limit while processes are idle: growing would not help",
    Reason.NOT_CONSUMING: "tasks wait and the workers take none: growing would not help; restart them",
    Reason.STALE: "the backlog could not be read: no shrink without it",
    Reason.PEER_UNRESPONSIVE: "a worker of the same queues did not answer in full: no shrink without it",
    Reason.OUTSTANDING: "an earlier action has not settled yet",
    Reason.REFUSED: "the worker refused its last resize; it is tried again later",
    Reason.SHRINK_LIMITED: "the worker has no companion: it shrinks only while idle",
    Reason.UNSUPPORTED: "the worker's pool cannot be resized",
    Reason.PAUSED: "an administrator paused the autoscaler",
    Reason.HELD: "an administrator resized this worker and asked to keep that size",
    Reason.NOT_LEADER: "another autoscaler acts for this fleet",
    Reason.YIELDING: "another autoscaler, whose name sorts before this one's, resizes this worker",
    Reason.DRY_RUN: "dry run: decide and do not act",
    Reason.DISABLED: "CELERY_AUTOSCALE_ENABLED is false",
}
