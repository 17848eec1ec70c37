"""Messages that somebody takes whom the scaler cannot see, such as a worker without remote control.

Pure. A queue becomes shorter, and no worker that answers has consumed it meanwhile. What was taken may still
run, so that it is not known that there is no work.
"""

from __future__ import annotations

from typing import NamedTuple

#: For so long after the last message was taken what runs is not known.
UNSEEN_SECONDS = 600.0
#: A worker that was seen to consume the queue so long before the last question may have taken what is gone.
SEEN_SECONDS = 60.0


class Taken(NamedTuple):
    """One queue at the last question, at ``at`` monotonic seconds.

    ``depth`` messages waited, and ``peak`` at most since somebody unseen began to take them. ``taken_at`` is
    when that was last noticed, None where it was not.
    """

    at: float
    depth: int
    peak: int
    taken_at: float | None = None


def follow(before: Taken | None, depth: int, *, consumed_at: float | None, at: float) -> Taken:
    """The queue with ``depth`` messages now.

    ``consumed_at`` is when a worker that answered was last seen to consume it, None where none was.
    """
    if before is None or (consumed_at is not None and consumed_at >= before.at - SEEN_SECONDS):
        return Taken(at=at, depth=depth, peak=depth)
    taken_at = at if depth < before.depth else before.taken_at
    if taken_at is None or at - taken_at >= UNSEEN_SECONDS:
        return Taken(at=at, depth=depth, peak=depth)
    return Taken(at=at, depth=depth, peak=max(before.peak, depth), taken_at=taken_at)
