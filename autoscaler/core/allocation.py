"""One fleet target to a target for each worker.

Pure and deterministic: one autoscaler for each worker and one for the whole fleet compute the same numbers.
Growth goes to the smallest workers that may grow, a shrink is taken from idle processes first and then from
the largest workers; ties go by name. Nothing is moved between workers while the total stays.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class TargetRange(NamedTuple):
    """How far one worker may go this time: ``min_target`` <= ``current`` <= ``max_target``, in processes.

    ``current`` is where it starts from: its size, or the bound that it has to be moved to first. ``idle``
    counts its processes without a task: a shrink is taken there first.
    """

    worker: str
    current: int
    min_target: int
    max_target: int
    idle: int = 0


def allocate(ranges: Iterable[TargetRange], total: int) -> dict[str, int]:
    """A target for each worker, their sum as near to ``total`` as the ranges allow.

    Raises:
        ValueError: when the bounds of a range are not in order.
    """
    ranges = list(ranges)
    for one in ranges:
        if not 0 <= one.min_target <= one.current <= one.max_target:
            raise ValueError(
                f"{one}: min_target, current and max_target must not fall and start at 0 or more"
            )
    targets = {one.worker: one.current for one in ranges}
    missing = total - sum(targets.values())
    if missing > 0:
        smallest = [
            (one.current, one.worker, one.max_target) for one in ranges if one.current < one.max_target
        ]
        heapq.heapify(smallest)
        while missing and smallest:
            size, worker, max_target = heapq.heappop(smallest)
            targets[worker] = size + 1
            missing -= 1
            if size + 1 < max_target:
                heapq.heappush(smallest, (size + 1, worker, max_target))
    elif missing < 0:
        # Idle ones first, then the largest: a busy process takes a while to retire.
        idlest = [
            _shrink_key(one.idle, one.current, one.worker, one.min_target)
            for one in ranges
            if one.current > one.min_target
        ]
        heapq.heapify(idlest)
        while missing and idlest:
            _, negative_size, worker, min_target, idle = heapq.heappop(idlest)
            size = -negative_size - 1
            targets[worker] = size
            missing += 1
            if size > min_target:
                heapq.heappush(idlest, _shrink_key(idle - 1, size, worker, min_target))
    return targets


def _shrink_key(idle: int, size: int, worker: str, min_target: int) -> tuple[bool, int, str, int, int]:
    return (idle <= 0, -size, worker, min_target, idle)
