"""Where workers keep the messages that they have fetched and not acknowledged, remembered beyond their end.

Pure. Kombu keeps them in one hash for all queues of workers that have the same ``unacked_key`` and
``global_keyprefix``. Only a worker that consumes and has the same two restores what a killed one left there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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
