"""Other autoscalers that resize the same worker, and which of two yields.

Pure. A companion reports who has resized its worker lately. Of two autoscalers, the one whose name sorts
later holds while the other is known to act. An autoscaler that has not resized the worker for a while counts
as gone; if it is not, it is noticed again by its next resize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.core.model import WorkerReading

#: How long after its last resize of a worker an autoscaler counts as one that acts on it.
ALIVE_SECONDS = 300.0


def rivals(reading: WorkerReading, own_name: str) -> list[str]:
    """The names of the others that have resized the worker lately, sorted."""
    return sorted(
        name
        for name, seconds_ago in reading.resizers or ()
        if name != own_name and seconds_ago < ALIVE_SECONDS
    )


def yields_to(reading: WorkerReading, own_name: str) -> str | None:
    """The autoscaler that the one called ``own_name`` leaves the worker to, None where it acts itself."""
    if not own_name:
        return None
    return next((name for name in rivals(reading, own_name) if name < own_name), None)
