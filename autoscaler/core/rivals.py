"""Other autoscalers that resize the same worker, and which of two yields.

Pure. A companion reports who has resized its worker lately. Of two autoscalers, the one whose name sorts
later holds while the other is known to act. An autoscaler that has not resized the worker for a while counts
as gone. One that answers that by a resize of its own is noticed again, and waited for twice as long the next
time: two that want different sizes exchange ever fewer resizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.core.model import WorkerReading

#: How long an autoscaler counts as one that acts on a worker after it last resized it: at first, and at most.
ALIVE_SECONDS = 300.0
MAX_ALIVE_SECONDS = 4 * 3600.0
#: The same resize is reported with an age that differs by less.
_SAME_SECONDS = 2.0


class Rival(NamedTuple):
    """When an autoscaler last resized a worker (monotonic seconds), and how long it counts as alive."""

    acted_at: float
    alive_seconds: float = ALIVE_SECONDS


#: Nothing is known of rivals.
NONE: Mapping[str, Rival] = {}


def remember_rivals(known: Mapping[str, Rival], reading: WorkerReading, at: float) -> Mapping[str, Rival]:
    """What is known after a reading at ``at``; who is not reported any longer is forgotten."""
    if not reading.resizers:
        return NONE
    found = {}
    for name, seconds_ago in reading.resizers:
        before, acted_at = known.get(name), at - seconds_ago
        if before is None:
            found[name] = Rival(acted_at)
        elif acted_at - before.acted_at <= _SAME_SECONDS:
            found[name] = before
        else:
            came_back = acted_at - before.acted_at >= before.alive_seconds
            patience = before.alive_seconds * (2 if came_back else 1)
            found[name] = Rival(acted_at, min(MAX_ALIVE_SECONDS, patience))
    return found


def rivals(reading: WorkerReading, own_name: str, known: Mapping[str, Rival] = NONE) -> list[str]:
    """The names of the others that have resized the worker lately, sorted."""
    return sorted(
        name
        for name, seconds_ago in reading.resizers or ()
        if name != own_name and seconds_ago < (known[name].alive_seconds if name in known else ALIVE_SECONDS)
    )


def yields_to(reading: WorkerReading, own_name: str, known: Mapping[str, Rival] = NONE) -> str | None:
    """The autoscaler that the one called ``own_name`` leaves the worker to, None where it acts itself."""
    if not own_name or not reading.resizers:
        return None
    return next((name for name in rivals(reading, own_name, known) if name < own_name), None)
