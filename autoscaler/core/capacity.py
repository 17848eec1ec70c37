"""How many processes fit in a container, by its limits and by its use.

Pure. The CPU ceiling is ``floor(cores x processes per core)``. The memory ceiling is what fits at its peak
(:mod:`.memory`). Both exist only where a limit is set; ``max = auto`` falls back to what the machine has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core import memory as memory_of
from autoscaler.core.model import Bounds, ContainerReading, Override, Reason
from autoscaler.core.policy import MAX_PROCESSES

if TYPE_CHECKING:
    from autoscaler.core.memory import Breach, MemoryRecord, Need
    from autoscaler.core.policy import Policy

_NO_OVERRIDE = Override()
#: CPU time that a limit allows between two readings, below which no rate of use means anything.
_MIN_CPU_SECONDS = 1e-6


class Ceiling(NamedTuple):
    """An upper bound of processes, and the reason that names it."""

    processes: int
    reason: Reason


def cpu_processes(cores: float, processes_per_core: float) -> int:
    """Processes that fit on so many cores: at least 1, and no more than any worker is resized to."""
    # Quotas are quotients (150000/100000): a hair below a whole number is that number.
    return max(1, min(MAX_PROCESSES, math.floor(cores * processes_per_core + 1e-9)))


def automatic_max(
    policy: Policy, container: ContainerReading | None, each: Need | None = None, *, size: int = 0
) -> Ceiling | None:
    """What ``max = auto`` stands for: the container's limits or else the machine's; None where unknown.

    ``each`` is what a process needs of memory, None where that is not known. A worker of ``size`` processes
    keeps those that nearly fit (:func:`.memory.fitting`).
    """
    if container is None or container.cpu_limit_cores is None:
        return None
    fits = memory_of.fitting(policy, container, each, size=size)
    cpu = Ceiling(
        cpu_processes(container.cpu_limit_cores, policy.processes_per_core),
        Reason.CPU_CEILING if container.cpu_limited else Reason.MACHINE,
    )
    if fits is None or fits >= cpu.processes:
        return cpu
    return Ceiling(fits, Reason.MEMORY_CEILING if container.memory_limited else Reason.MACHINE)


def bounds(
    policy: Policy,
    container: ContainerReading | None,
    override: Override = _NO_OVERRIDE,
    *,
    each: Need | None = None,
    breach: Breach | None = None,
    size: int = 0,
    at: float = 0.0,
) -> Bounds:
    """The bounds on a worker of ``size`` processes: the policy's, an administrator's, and the container's.

    Of the container only limits that someone set count, beside an automatic max: a bare machine's cores are
    no reason to overrule ``max``. ``each`` is what a process needs of its memory, and ``breach`` what has
    exceeded it before ``at``.
    """
    minimum = policy.min_processes if override.min_processes is None else override.min_processes
    maximum = policy.max_processes if override.max_processes is None else override.max_processes
    reason = Reason.AT_MAX
    if maximum is None:
        highest = automatic_max(policy, container, each, size=size)
        maximum, reason = highest or (None, Reason.UNKNOWN_LIMIT)
    cpu = fits = None
    if container is not None and container.cpu_limited and container.cpu_limit_cores is not None:
        cpu = cpu_processes(container.cpu_limit_cores, policy.processes_per_core)
    if container is not None and container.memory_limited:
        fits = memory_of.fitting(policy, container, each, size=size)
    return Bounds(minimum, maximum, reason, cpu, fits, breach.allowed(at) if breach else None)


def unlearnt_bounds(
    policy: Policy, container: ContainerReading | None, override: Override = _NO_OVERRIDE
) -> Bounds:
    """The same by one reading alone, where nothing has been learnt of the container's memory."""
    each = None if container is None else memory_of.need(policy, container, None)
    return bounds(policy, container, override, each=each)


def lowest(applied: Bounds) -> Ceiling | None:
    """The lowest upper bound and its name; None where none is known."""
    _, processes, reason, cpu, memory, breach = applied
    if cpu is not None and (processes is None or cpu < processes):
        processes, reason = cpu, Reason.CPU_CEILING
    if memory is not None and (processes is None or memory < processes):
        processes, reason = memory, Reason.MEMORY_CEILING
    if breach is not None and (processes is None or breach < processes):
        processes, reason = breach, Reason.MEMORY_BREACH
    return None if processes is None else Ceiling(processes, reason)


def lowest_processes(applied: Bounds) -> int | None:
    """The lowest upper bound without its name."""
    _, found, _, *others = applied
    for one in others:
        if one is not None and (found is None or one < found):
            found = one
    return found


def keep_limits(before: ContainerReading, now: ContainerReading) -> ContainerReading:
    """``now`` with each limit that is unknown as last known; what is in use is never carried over.

    So a ceiling stays where it was while its files cannot be read, and moves with the first good reading.
    """
    if now.cpu_limit_cores is None:
        now = now._replace(
            cpu_limit_cores=before.cpu_limit_cores,
            cpu_limited=before.cpu_limited,
            cpu_limit_id=before.cpu_limit_id,
        )
    if now.memory_limit_bytes is None:
        now = now._replace(
            memory_limit_bytes=before.memory_limit_bytes,
            memory_limited=before.memory_limited,
            memory_limit_stated=before.memory_limit_stated,
            parent_rss_bytes=before.parent_rss_bytes,
            container_id=before.container_id,
        )
    return now


def with_rates(
    before: ContainerReading | None, now: ContainerReading | None, seconds: float
) -> ContainerReading | None:
    """``now`` with its rates of use since ``before``, taken ``seconds`` earlier; None where unknown.

    Limits that cannot be read now are those of ``before``.
    """
    if before is None:
        return now
    now = keep_limits(before, now or ContainerReading())
    allowed = seconds * (now.cpu_limit_cores or 0.0)
    if allowed < _MIN_CPU_SECONDS:
        return now
    used = _growth(before.cpu_usage_seconds, now.cpu_usage_seconds)
    throttled = _growth(before.throttled_seconds, now.throttled_seconds)
    # The kernel adds throttled time up over the CPUs that were held back.
    spread = max(seconds, allowed)
    return now.with_rates(
        None if used is None else used / allowed,
        None if throttled is None else min(1.0, throttled / spread),
    )


def _growth(before: float | None, now: float | None) -> float | None:
    # A counter that fell belongs to another group than before: nothing is known of the time between.
    return None if before is None or now is None or now < before else now - before


def growth_room(
    policy: Policy,
    container: ContainerReading | None,
    record: MemoryRecord | None,
    each: Need | None,
    processes: int,
    *,
    part: int | None = None,
) -> int | None:
    """The size up to which there is room in memory as it is used now: never below the size it has.

    ``each`` is what a process needs; ``part`` is by how many it may grow where others share that room.
    """
    if container is None or not container.memory_limited:
        return None
    more = memory_of.room(policy, container, record, each) if part is None else part
    return None if more is None else max(1, processes + more)


def pressure(
    policy: Policy, container: ContainerReading | None, processes: int, *, retiring: int = 0
) -> Ceiling | None:
    """The upper bound that follows from the container's use, given the size it has now.

    Memory above ``memory_high`` asks for fewer processes at once, as many fewer as bring it back under;
    ``retiring`` processes still fill memory and are on their way out already: where they are enough, it asks
    for no more than there are, as does CPU that is used up or throttled.
    """
    if container is None:
        return None
    used = container.memory_usage_ratio
    # Without a limit of its own the container is not what fills the machine, nor what frees it.
    limited = container.memory_limited and container.memory_limit_bytes is not None
    if limited and used is not None and used > policy.memory_high:
        excess = (used - policy.memory_high) * (container.memory_limit_bytes or 0)
        sizes = [size for size in container.child_rss_bytes if size > 0]
        fewer = math.ceil(excess / memory_of.percentile_95(sizes)) if sizes else 1
        fewer = max(0, max(1, fewer) - retiring)
        return Ceiling(max(1, processes - fewer), Reason.MEMORY_PRESSURE)
    # Used up or throttled: another process would only take time from those that run.
    cpu, throttled = container.cpu_usage_ratio or 0.0, container.cpu_throttled_ratio or 0.0
    if container.cpu_limited and (cpu > policy.cpu_high or throttled > policy.throttled_high):
        return Ceiling(max(1, processes), Reason.CPU_PRESSURE)
    return None
