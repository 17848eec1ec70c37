"""When a message was published: the header that a publisher sets, and how it is read from the queue.

A worker, a publisher and the daemon share it. What may never enter: anything but the standard library.
"""

from __future__ import annotations

import json
import math

#: The header with the time at which a message was published, in epoch seconds.
PUBLISHED_HEADER = "autoscaler_published_at"


def published_at(message: bytes) -> float | None:
    """The time in a message as kombu's Redis transport stores it, None where it has none."""
    try:
        headers = json.loads(message)["headers"]
        stamp = headers[PUBLISHED_HEADER]
        if isinstance(stamp, bool) or not isinstance(stamp, (int, float)) or not math.isfinite(stamp):
            return None
        return float(stamp)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def was_delivered_before(message: bytes) -> bool:
    """Whether kombu has put the message back into its queue after a delivery."""
    try:
        return bool(json.loads(message)["headers"].get("redelivered"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def oldest_age(messages: list[bytes], now: float) -> float | None:
    """Age in seconds of the oldest stamped message, never below 0; None where none is stamped."""
    stamps = [stamp for message in messages if (stamp := published_at(message)) is not None]
    return max(0.0, now - min(stamps)) if stamps else None
