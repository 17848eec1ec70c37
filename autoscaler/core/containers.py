"""Workers that live under one limit share what fits in it: each gets a part, by what it has to do.

Pure. A companion reports which group of processes a limit belongs to, so that workers of one container know
each other. What fits is split in this order: one process for each worker, its busy ones, those that its tasks
need, those that it has, and the rest evenly. So a worker that is idle gives way to one that is not, and
nothing moves between two that are. What there is room for now, by what is in use, is shared in the same way:
it is there once, and not for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autoscaler.core import capacity
from autoscaler.core import memory as memory_of
from autoscaler.core.model import ContainerReading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.core.memory import MemoryRecord
    from autoscaler.core.model import Bounds, Observation
    from autoscaler.core.policy import Policy
    from autoscaler.core.state import KnownWorker


_UNKNOWN = ContainerReading()


class Part(NamedTuple):
    """What one worker may have of what its container's limits allow, None where it has a limit to itself.

    ``memory_room`` is by how many processes it may grow now.
    """

    cpu_processes: int | None = None
    memory_processes: int | None = None
    memory_room: int | None = None

    def within(self, bounds: Bounds) -> Bounds:
        """The bounds with this part in the place of the whole."""
        cpu, memory = bounds.cpu_processes, bounds.memory_processes
        return bounds._replace(
            cpu_processes=self.cpu_processes if cpu is not None and self.cpu_processes else cpu,
            memory_processes=self.memory_processes
            if memory is not None and self.memory_processes
            else memory,
        )


def parts(
    policy: Policy,
    workers: Mapping[str, KnownWorker],
    records: Mapping[str, MemoryRecord],
    observation: Observation,
) -> dict[str, Part]:
    """The part of each worker that shares a limit with another one, by name."""
    limited = [worker for worker in workers.values() if worker.reading.container is not None]
    cpu_limits = [one.cpu_limit_id if one.cpu_limited else None for one in map(_container, limited)]
    memory_limits = [one.container_id if one.memory_limited else None for one in map(_container, limited)]
    cpu, memory, room = {}, {}, {}
    for together in _several(limited, cpu_limits):
        cores = min(_container(worker).cpu_limit_cores or 0 for worker in together)
        cpu.update(_parts(capacity.cpu_processes(cores, policy.processes_per_core), together, observation))
    for together in _several(limited, memory_limits):
        fits = _fitting(policy, together, records)
        if fits is not None:
            memory.update(_parts(fits, together, observation))
        room.update(_rooms(policy, together, records, observation))
    names = cpu.keys() | memory.keys() | room.keys()
    return {name: Part(cpu.get(name), memory.get(name), room.get(name)) for name in names}


def _several(workers: Sequence[KnownWorker], limits: Sequence[str | None]) -> list[list[KnownWorker]]:
    """Those that live under one of the limits together."""
    if len(set(limits)) == len(limits):
        return []  # the usual case: each container has one worker
    groups: dict[str, list[KnownWorker]] = {}
    for worker, limit in zip(workers, limits, strict=True):
        if limit:
            groups.setdefault(limit, []).append(worker)
    return [together for together in groups.values() if len(together) > 1]


def _parts(fits: int, together: Sequence[KnownWorker], observation: Observation) -> dict[str, int]:
    sizes = split(fits, _claims(together, observation))
    return {worker.reading.name: size for worker, size in zip(together, sizes, strict=True)}


def _rooms(
    policy: Policy,
    together: Sequence[KnownWorker],
    records: Mapping[str, MemoryRecord],
    observation: Observation,
) -> dict[str, int]:
    """By how many processes each may grow now: first those that its tasks need, the rest evenly.

    One that has no room of its own, such as a new one whose tasks have shown nothing yet, takes none of it
    and holds no other back.
    """
    rooms = []
    for one in together:
        container, record = _container(one), records.get(one.reading.name)
        rooms.append(memory_of.room(policy, container, record, memory_of.need(policy, container, record)))
    if all(room is None for room in rooms):
        return {}
    free = min((room for room in rooms if room), default=0)
    before = sizes = [worker.size or 0 for worker in together]
    needed = [claims[1] for claims in _claims(together, observation)]
    for wanted in (needed, [size + free for size in before]):
        able = [size if room == 0 else most for size, room, most in zip(before, rooms, wanted, strict=True)]
        sizes = _raised(sizes, able, free + sum(before) - sum(sizes))
    return {
        worker.reading.name: now - size
        for worker, room, now, size in zip(together, rooms, sizes, before, strict=True)
        if free or room is not None
    }


def split(fits: int, claims: Sequence[Sequence[int]]) -> list[int]:
    """Parts of ``fits`` processes by ``claims`` of rising sizes, one sequence for each worker: 1 at least.

    The first claims of all are met before the second of any; what is too little for all of them goes to the
    smallest part first. What is left after the last claim is shared out evenly.
    """
    sizes = [1] * len(claims)
    for wanted in [*zip(*claims, strict=True), (fits,) * len(claims)]:
        sizes = _raised(sizes, wanted, fits - sum(sizes))
    return sizes


def _raised(sizes: list[int], wanted: Sequence[int], left: int) -> list[int]:
    """Sizes raised by ``left`` in all, the smallest first, each to what is wanted of it at most.

    That is a level to which they are filled up, found by halving: ``left`` may be huge.
    """

    def up_to(level: int) -> list[int]:
        return [max(size, min(level, most)) for size, most in zip(sizes, wanted, strict=True)]

    if left <= 0:
        return sizes
    level, high = min(sizes), max(wanted)
    while level < high:
        middle = (level + high + 1) // 2
        if sum(up_to(middle)) - sum(sizes) <= left:
            level = middle
        else:
            high = middle - 1
    raised = up_to(level)
    left -= sum(raised) - sum(sizes)
    short = [place for place, size in enumerate(raised) if size == level < wanted[place]]
    for place in short[:left]:
        raised[place] += 1
    return raised


def _claims(together: Sequence[KnownWorker], observation: Observation) -> list[tuple[int, int, int]]:
    consumers: dict[str, int] = {}
    for worker in together:
        for queue in worker.reading.queues:
            consumers[queue] = consumers.get(queue, 0) + 1
    waiting = {
        queue.name: -(-(queue.waiting or 0) // consumers[queue.name])
        for queue in observation.queues
        if queue.name in consumers
    }
    found = []
    for worker in together:
        reading = worker.reading
        # Of one that does not say how many are busy each may be.
        busy = (worker.size or 0) if reading.busy is None else reading.busy
        needed = busy + (reading.reserved or 0) + sum(waiting.get(queue, 0) for queue in reading.queues)
        found.append((busy, max(busy, needed), max(busy, needed, worker.size or 0)))
    return found


def _fitting(
    policy: Policy, together: Sequence[KnownWorker], records: Mapping[str, MemoryRecord]
) -> int | None:
    """Processes of all of them that fit in their memory limit, None where that is not known."""
    parents = sum(_container(worker).parent_rss_bytes or 0 for worker in together)
    size = sum(worker.size or 0 for worker in together)
    fits = []
    for worker in together:
        container = _container(worker)._replace(parent_rss_bytes=parents)
        each = memory_of.need(policy, container, records.get(worker.reading.name))
        fits.append(memory_of.fitting(policy, container, each, size=size))
    known = [one for one in fits if one is not None]
    return min(known) if known else None


def _container(worker: KnownWorker) -> ContainerReading:
    return worker.reading.container or _UNKNOWN
