"""How far one worker may go in this tick, and what stops it at each end.

Pure. In this order, the hard limits last: the step, ``min`` and ``max`` or an administrator's instead of
them, and the container's ceiling, which beats ``min``. A worker without companion shrinks only while idle,
whatever the bounds say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core import capacity
from autoscaler.core import memory as memory_of
from autoscaler.core.allocation import TargetRange
from autoscaler.core.capacity import Ceiling
from autoscaler.core.model import Reason

if TYPE_CHECKING:
    from autoscaler.core.containers import Part
    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import Bounds, Override
    from autoscaler.core.policy import Policy
    from autoscaler.core.state import KnownWorker


class Constraints(NamedTuple):
    """What holds for one worker in this tick.

    ``size`` is the size it has or is about to have. ``min_reason`` and ``max_reason`` name what stops it at
    each end of ``range``; ``forced`` names the bound that ``range.current`` was moved by, where it was;
    ``blocked_by`` is why the worker can neither grow nor shrink now, whoever asks. ``highest`` is the lowest
    of its upper bounds and ceilings, None where none was looked for.
    """

    range: TargetRange
    size: int
    bounds: Bounds
    min_reason: Reason = Reason.STEADY
    max_reason: Reason = Reason.STEADY
    forced: Reason | None = None
    blocked_by: Reason | None = None
    highest: Ceiling | None = None

    def fixed(self) -> Constraints:
        """The same for a worker that keeps the size it has."""
        size = self.size
        fixed = self.range._replace(current=size, min_target=size, max_target=size)
        return self._replace(range=fixed, forced=None)


def reach(
    size: int, steps: tuple[int, int], lowest: int | None = None, highest: int | None = None
) -> tuple[int, int, int]:
    """Where a worker of ``size`` starts from, and the least and the most it may have after this action.

    ``steps`` are the largest up and down; a bound that is None does not limit.
    """
    up, down = steps
    least, most = size - down, size + up
    maximum = most if highest is None else highest
    minimum = max(0, least) if lowest is None else min(lowest, maximum)
    current = minimum if size < minimum else min(size, maximum)
    return current, min(current, max(least, minimum)), max(current, min(most, maximum))


def constrain(
    policy: Policy,
    override: Override,
    member: KnownWorker,
    at: float,
    *,
    steps: tuple[int, int],
    may_shrink: bool,
    record: MemoryRecord | None = None,
    part: Part | None = None,
) -> Constraints:
    """The constraints on one worker; ``steps`` are the largest up and down, ``record`` is its memory's.

    ``part`` is its part of limits that it shares with other workers.

    ``may_shrink`` is True where a shrink harms nothing even though the worker has no companion.
    """
    size, reading = member.size, member.reading
    container = reading.container
    each = None if container is None else memory_of.need(policy, container, record)
    breach = None if record is None else record.breach
    bounds = capacity.bounds(policy, container, override, each=each, breach=breach, size=size or 0, at=at)
    if part is not None:
        bounds = part.within(bounds)
    blocked_by = _blocked_by(member, at)
    if size is None or blocked_by:
        fixed = TargetRange(reading.name, size or 0, size or 0, size or 0)
        return Constraints(range=fixed, size=size or 0, bounds=bounds, blocked_by=blocked_by)
    highest = _upper(bounds, size)
    if container is not None:
        pressed = capacity.pressure(policy, container, size, retiring=reading.retiring)
        if pressed is not None and pressed.processes < highest.processes:
            highest = pressed
        room = capacity.growth_room(
            policy, container, record, each, size, part=part.memory_room if part else None
        )
        if room is not None and room < highest.processes:
            highest = Ceiling(room, Reason.MEMORY_CEILING)
    found = _within(bounds, highest, member, size, steps)
    if not (reading.companion or may_shrink) and found.range.min_target < size:
        return _without_shrink(found)
    return found


def _within(
    bounds: Bounds, highest: Ceiling, member: KnownWorker, size: int, steps: tuple[int, int]
) -> Constraints:
    reading, (maximum, max_reason), (up, down) = member.reading, highest, steps
    minimum, at_minimum = bounds.min_processes, Reason.AT_MIN
    if maximum < minimum:
        # It is what stops a shrink, and a growth too.
        minimum, at_minimum = maximum, max_reason
    current, min_target, max_target = reach(size, steps, minimum, maximum)
    forced = None
    if current != size:
        forced = Reason.AT_MIN if current > size else max_reason
    return Constraints(
        TargetRange(reading.name, current, min_target, max_target, max(0, size - (reading.busy or 0))),
        size,
        bounds,
        Reason.STEP if size - down > minimum else at_minimum,
        Reason.STEP if size + up < maximum else max_reason,
        forced,
        None,
        highest,
    )


def _without_shrink(found: Constraints) -> Constraints:
    """The same for a worker that may not shrink: stock pool_shrink ends children that hold a task."""
    size, target_range = found.size, found.range
    return found._replace(
        range=target_range._replace(
            min_target=size,
            current=max(size, target_range.current),
            max_target=max(size, target_range.max_target),
        ),
        min_reason=Reason.SHRINK_LIMITED,
        forced=Reason.SHRINK_LIMITED if target_range.current < size else None,
    )


def _upper(bounds: Bounds, size: int) -> Ceiling:
    """The lowest upper bound of a worker and its name, by the limits alone."""
    if bounds.max_reason is Reason.MACHINE:
        # No limit is set: what the machine has ends growth and takes no process away.
        bounds = bounds._replace(max_processes=max(size, bounds.max_processes or 1))
    highest = capacity.lowest(bounds)
    if highest is None or (bounds.max_processes is None and highest.processes >= max(1, size)):
        return Ceiling(max(1, size), Reason.UNKNOWN_LIMIT)
    return highest


def _blocked_by(member: KnownWorker, at: float) -> Reason | None:
    reading, read_at, outstanding, refusal, _ = member
    if read_at != at or reading.processes is None:
        return Reason.UNKNOWN_SIZE
    if reading.unsupported:
        return Reason.UNSUPPORTED
    if outstanding:
        return Reason.OUTSTANDING
    return Reason.REFUSED if refusal and at < refusal.until else None
