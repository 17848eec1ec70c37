"""One fleet target to a target for each worker.

Pure and deterministic: one autoscaler for each worker and one for the whole fleet come to the same numbers.
Growth goes to the smallest workers with room, a shrink is taken from the largest that may give; ties go by
name. Nothing is moved between workers while the total stays.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Room(NamedTuple):
    """How far one worker may go this time: from ``floor`` over ``base`` (where it stands) to ``roof``.

    ``idle`` counts its processes without a task: a shrink is taken there first.
    """

    worker: str
    base: int
    floor: int
    roof: int
    idle: int = 0


def allocate(rooms: Iterable[Room], total: int) -> dict[str, int]:
    """A target for each worker, their sum as near to ``total`` as floors and roofs allow.

    Raises:
        ValueError: when the bounds of a room fall.
    """
    rooms = list(rooms)
    for room in rooms:
        if not 0 <= room.floor <= room.base <= room.roof:
            raise ValueError(f"{room}: floor, base and roof must not fall and start at 0 or more")
    targets = {room.worker: room.base for room in rooms}
    missing = total - sum(targets.values())
    if missing > 0:
        smallest = [(room.base, room.worker, room.roof) for room in rooms if room.base < room.roof]
        heapq.heapify(smallest)
        while missing and smallest:
            size, worker, roof = heapq.heappop(smallest)
            targets[worker] = size + 1
            missing -= 1
            if size + 1 < roof:
                heapq.heappush(smallest, (size + 1, worker, roof))
    elif missing < 0:
        # Idle ones first, then the largest: a busy process takes a while to retire.
        idlest = [
            _give(room.idle, room.base, room.worker, room.floor) for room in rooms if room.base > room.floor
        ]
        heapq.heapify(idlest)
        while missing and idlest:
            _, negative_size, worker, floor, idle = heapq.heappop(idlest)
            size = -negative_size - 1
            targets[worker] = size
            missing += 1
            if size > floor:
                heapq.heappush(idlest, _give(idle - 1, size, worker, floor))
    return targets


def _give(idle: int, size: int, worker: str, floor: int) -> tuple[bool, int, str, int, int]:
    return (idle <= 0, -size, worker, floor, idle)
