"""When a message was published: the header that a publisher stamps, and how it is read from the queue.

Standard library alone: a worker, a publisher and the daemon share it.
"""

from __future__ import annotations

import json

#: The header of a message that tells when it was published, in epoch seconds.
PUBLISHED_HEADER = "autoscaler_published_at"


def published_at(message: bytes) -> float | None:
    """The time in a message as kombu's Redis transport stores it, None where it bears none."""
    try:
        headers = json.loads(message)["headers"]
        stamp = headers[PUBLISHED_HEADER]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(stamp) if isinstance(stamp, int | float) and not isinstance(stamp, bool) else None


def oldest_age(messages: list[bytes], now: float) -> float | None:
    """Age in seconds of the oldest stamped message, never below 0; None where none is stamped."""
    stamps = [stamp for message in messages if (stamp := published_at(message)) is not None]
    return max(0.0, now - min(stamps)) if stamps else None
