"""Workers that share queues, as edges: which worker can take what waits where. Values, and what makes them.

A channel is all queues that the same workers consume with the same target wait. A channel with one consumer
is that worker's own, as are the tasks that it has fetched: nobody else can start them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from autoscaler.core.model import QueueReading, WorkerReading


class Member(NamedTuple):
    """One worker: its size, its own tasks, and the channels that it consumes, by their numbers.

    ``processes`` are those it has or is about to have; ``busy`` counts tasks in retiring ones too.
    """

    name: str
    processes: int
    busy: int
    reserved: int
    completed: int | None
    channels: tuple[int, ...] = ()
    retiring: int = 0


class Channel(NamedTuple):
    """Queues as one: ``waiting`` messages, each to start within the target, by ``consumers`` (numbers).

    ``tasks`` of them need a process; the others do not (:mod:`.passing`).
    """

    queues: tuple[str, ...]
    target_wait_seconds: float
    waiting: int
    consumers: tuple[int, ...]
    tasks: int
    oldest_age_seconds: float | None = None

    @property
    def share_run(self) -> float:
        """Share of what waits that a process will run."""
        return self.tasks / self.waiting if self.waiting else 1.0


class Consumed(NamedTuple):
    """What workers that consume the same channels have in common.

    ``exclusive`` are the channels that nobody else consumes and where something waits, ``exclusive_tasks``
    what of it needs a process. ``part`` is one worker's part of all that waits in the channels and needs one.
    ``target_wait_seconds`` is the shortest, 0 without a channel, and ``waits`` is whether anything waits.
    """

    exclusive: tuple[Channel, ...]
    exclusive_tasks: int
    part: int
    target_wait_seconds: float
    waits: bool


class Fleet(NamedTuple):
    """The workers of a group and the channels between them; a worker's number is its place here.

    ``consumed`` is what each worker consumes: one value for all that consume the same.
    """

    members: tuple[Member, ...]
    channels: tuple[Channel, ...]
    consumed: tuple[Consumed, ...]

    def shared(self) -> list[int]:
        """The channels that more than one worker consumes, by number."""
        return [number for number, channel in enumerate(self.channels) if len(channel.consumers) > 1]

    @classmethod
    def of(cls, members: Sequence[Member], channels: Sequence[Channel]) -> Fleet:
        """A fleet of these."""
        sets = {member.channels for member in members}
        by_set = {places: _consumed([channels[place] for place in places]) for places in sets}
        return cls(tuple(members), tuple(channels), tuple([by_set[member.channels] for member in members]))


class Needs(NamedTuple):
    """What the work asks for beyond what there is, before any bound, in processes.

    ``own`` is by worker: more for tasks that only it can start. ``shared`` is by channel: more on any of its
    consumers. ``keep`` is by worker: below it nothing may be taken away. ``kept`` is what of all the
    processes there are is worth keeping, ``keep`` at least.
    """

    own: tuple[int, ...]
    shared: tuple[int, ...]
    keep: tuple[int, ...]
    kept: int

    @property
    def growth(self) -> int:
        """All that is asked for in addition."""
        return sum(self.own) + sum(self.shared)

    def without_growth(self) -> Needs:
        """The same where more processes would not help."""
        return self._replace(own=(0,) * len(self.own), shared=(0,) * len(self.shared))

    @property
    def total(self) -> int:
        """The recommended processes of all workers together."""
        return self.kept + self.growth


class Share(NamedTuple):
    """One worker's part of what was recommended for its group, within its bounds. Sizes are processes.

    It carries ``own`` more for tasks that only it can start (those it has fetched, and what waits where
    nobody else consumes) and ``shared`` more for queues that others consume too. ``short`` is True where a
    bound keeps it from more.
    """

    worker: str
    target: int
    own: int = 0
    shared: int = 0
    short: bool = False


def fleet_of(
    readings: Sequence[WorkerReading],
    sizes: Sequence[int],
    queues: Sequence[str],
    depths: Mapping[str, QueueReading],
    target_of: Callable[[str], float],
    *,
    share_run: float = 1.0,
) -> Fleet:
    """The workers and channels of a group; ``queues`` are those that count, ``sizes`` by worker.

    ``share_run`` of what waits needs a process, 0 where what is left in the queues is no backlog.
    """
    counted = frozenset(queues)
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, reading in enumerate(readings):
        alike.setdefault(reading.queues, []).append(number)
    # A fleet has many workers and few sets of queues: those of one set are routed alike.
    sets = list(alike.values())
    consumers: dict[str, list[int]] = {}
    for place, consumed in enumerate(alike):
        for queue in consumed:
            if queue in counted:
                consumers.setdefault(queue, []).append(place)
    merged: dict[tuple[tuple[int, ...], float], list[str]] = {}
    for queue in queues:
        if queue in consumers:
            merged.setdefault((tuple(consumers[queue]), target_of(queue)), []).append(queue)
    channels: list[Channel] = []
    reached: list[list[int]] = [[] for _ in sets]
    for (places, target), names in merged.items():
        for place in places:
            reached[place].append(len(channels))
        reaching = tuple(sorted([member for place in places for member in sets[place]]))
        found = [depths[name] for name in names if name in depths]
        channels.append(_channel(names, found, target, reaching, share_run))
    taken = [tuple(one) for one in reached]
    of_member = {number: taken[place] for place, numbers in enumerate(sets) for number in numbers}
    members = [_member(reading, sizes[number], of_member[number]) for number, reading in enumerate(readings)]
    return Fleet.of(members, channels)


def _consumed(channels: Sequence[Channel]) -> Consumed:
    exclusive = tuple([one for one in channels if one.waiting and len(one.consumers) == 1])
    return Consumed(
        exclusive=exclusive,
        exclusive_tasks=sum(channel.tasks for channel in exclusive),
        part=sum(channel.tasks // len(channel.consumers) for channel in channels),
        target_wait_seconds=min((channel.target_wait_seconds for channel in channels), default=0.0),
        waits=any(channel.waiting for channel in channels),
    )


def _channel(
    names: Sequence[str],
    found: Sequence[QueueReading],
    target: float,
    members: tuple[int, ...],
    share_run: float,
) -> Channel:
    ages = [one.oldest_age_seconds for one in found if one.oldest_age_seconds is not None]
    waiting = sum([one.waiting or 0 for one in found]) if share_run else 0
    return Channel(
        queues=tuple(names),
        target_wait_seconds=target,
        waiting=waiting,
        consumers=members,
        tasks=round(waiting * share_run),
        oldest_age_seconds=max(ages, default=None),
    )


def _member(reading: WorkerReading, size: int, channels: tuple[int, ...]) -> Member:
    return Member(
        reading.name,
        size,
        reading.busy or 0,
        reading.reserved or 0,
        reading.completed,
        channels,
        reading.retiring,
    )
