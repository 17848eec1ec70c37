"""Where this worker's messages are and how they are written, read from its own connection and configuration.

What belongs here: settings that somebody outside has to know to count a queue or to send a command. What may
never enter: secrets, addresses, and anything that changes while the worker runs. A transport that lacks a
setting has None for it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from celery.utils.nodenames import worker_direct

from . import pools

#: Longest text and list in the report; what is longer is of no use to anybody.
_MAX_TEXT = 200
_MAX_STEPS = 256


def read_layout(consumer: Any) -> dict[str, Any]:
    """The layout by name, None where unknown.

    ``separator``, ``priority_steps``, ``global_keyprefix``, ``unacked_key`` and
    ``visibility_timeout_seconds`` are kombu's options of the Redis transport. ``private_queues`` are those
    that this worker consumes and no other may: of a fanout exchange, or its own of ``worker_direct``.
    ``serializer`` is that of its replies, ``accept`` what it can read, as names or content types.
    ``prefetch_disabled`` is Celery's setting.
    """
    channel = getattr(consumer.task_consumer, "channel", None)
    return {
        "separator": _text(getattr(channel, "sep", None)),
        "priority_steps": _whole_numbers(getattr(channel, "priority_steps", None)),
        "global_keyprefix": _text(getattr(channel, "global_keyprefix", None)),
        "unacked_key": _text(getattr(channel, "unacked_key", None)),
        "visibility_timeout_seconds": _number(getattr(channel, "visibility_timeout", None)),
        **_configured(consumer.app),
        "private_queues": _private_queues(consumer),
        "start_method": pools.start_method(consumer),
    }


@lru_cache(maxsize=1)
def _configured(app: Any) -> dict[str, Any]:
    # Once for a worker: the configuration is as it was at its start, and each look at it takes 0.1 ms.
    conf = app.conf
    serializer = getattr(app.control.mailbox, "serializer", None) or conf.get("task_serializer")
    return {
        "control_exchange": _text(conf.get("control_exchange")),
        "eta_task_limit": _whole_number(conf.get("worker_eta_task_limit")),
        "prefetch_disabled": bool(conf.get("worker_disable_prefetch")),
        "serializer": _text(serializer),
        "accept": _texts(conf.get("accept_content")),
    }


def _private_queues(consumer: Any) -> list[str]:
    task_consumer = consumer.task_consumer
    if not task_consumer:
        return []
    own = worker_direct(consumer.hostname).name
    return sorted(
        queue.name
        for queue in task_consumer.queues
        if queue.name == own or getattr(queue.exchange, "type", None) == "fanout"
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _MAX_TEXT else None


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return None
    return sorted(text for text in map(_text, value) if text is not None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _whole_numbers(value: object) -> list[int] | None:
    if not isinstance(value, (list, tuple, range)) or len(value) > _MAX_STEPS:
        return None
    numbers = [_whole_number(one) for one in value]
    return None if None in numbers else [number for number in numbers if number is not None]
