"""Who has resized this worker, and how long ago.

What belongs here: names that came with ``pool_resize`` and their times. What may never enter: a decision. Two
autoscalers that act on one worker find each other by it.
"""

from __future__ import annotations

import time

MAX_NAME = 100
_MAX_NAMES = 8

#: Monotonic seconds of the last resize by each name, the latest last.
_resized_at: dict[str, float] = {}


def fault_of_name(by: object) -> str | None:
    """What is wrong with the name, in one sentence, or None; no name is fine."""
    if by is None or (isinstance(by, str) and 1 <= len(by) <= MAX_NAME):
        return None
    return f"pool_resize: by is a text of 1 to {MAX_NAME} characters"


def note(by: str | None) -> None:
    """Remember that this one has resized the worker now; the latest few are kept."""
    if by is None:
        return
    _resized_at.pop(by, None)
    _resized_at[by] = time.monotonic()
    while len(_resized_at) > _MAX_NAMES:
        del _resized_at[next(iter(_resized_at))]


def read() -> dict[str, float]:
    """Seconds since the last resize by each name."""
    now = time.monotonic()
    return {name: round(now - at, 3) for name, at in _resized_at.items()}
