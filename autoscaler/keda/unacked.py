"""Where workers keep the messages that they have fetched and not acknowledged, remembered beyond their end.

Pure. Kombu keeps them in one hash for all queues of workers that have the same ``unacked_key`` and
``global_keyprefix``. Only a worker that consumes and has the same two restores what a killed one left there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from autoscaler.core.model import WorkerReading
    from autoscaler.report.status import TickRecord

#: Fleets have one such place; more than these are somebody's mistake.
_MAX_PLACES = 100
_MAX_QUEUES = 1000


class UnackedPlace(NamedTuple):
    """Kombu's ``global_keyprefix`` and ``unacked_key`` as a worker reports them, None where it does not."""

    prefix: str | None = None
    key: str | None = None


#: Where workers without companion keep them: where the settings say.
STATED = UnackedPlace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A worker that is gone with tasks in hand: how many, of which queues, and where they are kept."""

    tasks: int
    queues: tuple[str, ...]
    place: UnackedPlace


def lost_of(lost: Iterable[Lost], queues: Collection[str], *, but: Collection[UnackedPlace]) -> list[Lost]:
    """Those that may have fetched messages of these queues, in other places than ``but``."""
    mine = (one for one in lost if not one.queues or not set(one.queues).isdisjoint(queues))
    return [one for one in mine if one.place not in but]


def unaccounted(lost: Collection[Lost], record: TickRecord, unacked: int) -> int:
    """Of ``unacked`` messages in their places those that these workers took with them.

    The others are in the hands of workers that are there. They come back after the visibility timeout.
    """
    places = {one.place for one in lost}
    counts = [held_by(one) for one in record.workers.values() if place_of(one) in places]
    return max(0, min(sum(one.tasks for one in lost), unacked - sum(counts)))


def held_by(reading: WorkerReading) -> int:
    """The tasks that a worker has fetched and not ended, whatever they wait for in it."""
    counts = (reading.busy, reading.reserved, reading.scheduled, reading.rate_limited)
    return sum(count or 0 for count in counts)


def place_of(reading: WorkerReading) -> UnackedPlace:
    """Where that worker keeps its messages."""
    layout = reading.layout
    return STATED if layout is None else UnackedPlace(layout.global_keyprefix, layout.unacked_key)


def remember_places(
    before: Mapping[UnackedPlace, frozenset[str]], record: TickRecord
) -> dict[UnackedPlace, frozenset[str]]:
    """The queues of each place, by all workers seen so far; the places seen last are kept of too many."""
    found = dict(before)
    for reading in record.observation.workers:
        place = place_of(reading)
        queues = found.pop(place, frozenset()) | set(reading.queues)
        found[place] = queues if len(queues) <= _MAX_QUEUES else frozenset(reading.queues[:_MAX_QUEUES])
    return dict(list(found.items())[-_MAX_PLACES:])


def deserted_places(
    places: Mapping[UnackedPlace, frozenset[str]], record: TickRecord, queues: Collection[str]
) -> list[UnackedPlace]:
    """The places that may hold messages of these queues, and whose messages nobody restores.

    Where no worker of these queues was ever seen, it is the place that the settings state.
    """
    wanted = [place for place, served in places.items() if not served.isdisjoint(queues)] or [STATED]
    served = {place_of(reading) for reading in record.observation.workers if reading.queues}
    return [place for place in wanted if place not in served]
