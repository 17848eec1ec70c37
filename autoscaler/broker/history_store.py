"""The history of a daemon in Redis: a hash of blocks for the totals, and one for each group of workers.

A field is a block of a ring and is written anew each time, so the size is bounded without trimming, a write
that is repeated does no harm, and a hash expires once nobody writes to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.broker.errors import broker_errors
from autoscaler.broker.keys import Keys, decoded

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from redis import Redis

#: An hour longer than what is kept.
EXPIRY_SECONDS = 25 * 3600
#: The group of the totals.
_TOTAL = ""


def _key(name: str, group: str) -> str:
    return Keys(name=name).history + (f":{group}" if group else "")


def write_history(
    redis: Redis, name: str, fields: Mapping[str, Mapping[str, str]], gone: Collection[str] = ()
) -> None:
    """Store blocks by group, and delete what is stored of groups that are gone, in one round trip.

    Raises:
        BrokerError: when Redis fails.
    """
    pipeline = redis.pipeline(transaction=False)
    for group, blocks in fields.items():
        mapping: Any = dict(blocks)
        if mapping:
            pipeline.hset(_key(name, group), mapping=mapping)
            pipeline.pexpire(_key(name, group), EXPIRY_SECONDS * 1000)
    for group in gone:
        pipeline.delete(_key(name, group))
    with broker_errors():
        pipeline.execute()


def read_history(redis: Redis, name: str, groups: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """What is stored, as blocks by group: of the totals, and of these groups.

    Raises:
        BrokerError: when Redis fails.
    """
    pipeline = redis.pipeline(transaction=False)
    names = (_TOTAL, *groups) if groups else (_TOTAL,)
    for group in names:
        pipeline.hgetall(_key(name, group))
    with broker_errors():
        replies: list[Any] = pipeline.execute()
    return {
        group: {decoded(field): decoded(block) for field, block in reply.items()}
        for group, reply in zip(names, replies, strict=True)
    }


def read_actions(redis: Redis, name: str, count: int) -> list[dict[str, Any]]:
    """The last actions of a daemon as it has stored them in its events, the oldest first.

    Raises:
        BrokerError: when Redis fails.
    """
    with broker_errors():
        stored: Any = redis.xrevrange(Keys(name=name).events, count=count)
    found = []
    for _, fields in reversed(stored):
        event = {decoded(key): decoded(value) for key, value in fields.items()}
        action = {key: event.get(key) or None for key in ("worker", "command", "result", "reason", "detail")}
        try:
            numbers = {key: _whole(event.get(key)) for key in ("before", "target")}
            found.append({"at": float(event["at"]), **action, **numbers})
        except (KeyError, ValueError):
            continue  # nobody else writes there, and one odd entry must not hide the others
    return found


def _whole(text: str | None) -> int | None:
    return int(text) if text else None
