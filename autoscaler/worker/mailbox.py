# ruff: noqa: SLF001 - kombu binds a queue again only through a private method
"""Keeps this worker's mailbox in the set by which others find workers.

kombu writes a member of ``_kombu.binding.celery.pidbox`` only when it connects. It is lost with FLUSHALL, by
eviction, and when an older worker of the same node name exits; the worker goes on answering and nobody
finds it.

What belongs here: the look whether the member is there, and writing it again as kombu does. What may never
enter: an exception that reaches the worker's loop, and a wait of more than :data:`_REPLY_SECONDS`.
"""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_logger

_log = get_logger(__name__)

#: Seconds between two looks. One small command for each worker and look.
CHECK_SECONDS = 15.0
_REPLY_SECONDS = 1.0


def restore_mailbox(consumer: Any) -> int:
    """Bind the mailbox again where its member is gone; how many were. Never raises.

    Other transports than kombu's Redis, and workers without remote control, are left alone.
    """
    try:
        return _restore(consumer)
    except Exception as fault:  # noqa: BLE001 - the broker may be gone: the worker sees that by itself
        _log.debug("the mailbox could not be checked: %r", fault)
        return 0


def _restore(consumer: Any) -> int:
    box = next((step.box for step in consumer.steps if hasattr(step, "box")), None)
    if box is None or box.consumer is None:
        return 0
    channel = box.node.channel
    if not all(hasattr(channel, name) for name in ("_queue_bind", "keyprefix_queue", "sep", "pool")):
        return 0
    restored = 0
    for queue in box.consumer.queues:
        exchange, routing_key = queue.exchange.name, queue.routing_key or ""
        if not channel._fanout_queues.get(queue.name):
            continue  # not bound yet, or not any more
        member = channel.sep.join((routing_key, "", queue.name))
        if _is_member(channel, channel.keyprefix_queue % (exchange,), member) is False:
            channel._queue_bind(exchange, routing_key, None, queue.name)
            _log.warning("the mailbox %s was missing in the broker and is bound again", queue.name)
            restored += 1
    return restored


def _is_member(channel: Any, key: str, member: str) -> bool | None:
    """Whether a set has a member, None where the broker does not answer in time."""
    pool = channel.pool  # of the mailbox's channel alone
    for bound in ("socket_timeout", "socket_connect_timeout"):
        if pool.connection_kwargs.get(bound) is None:  # kombu's default, which waits for ever
            pool.connection_kwargs[bound] = _REPLY_SECONDS
    connection = _connection(pool)
    try:
        prefix = getattr(channel, "global_keyprefix", "") or ""
        connection.send_command("SISMEMBER", prefix + key, member)
        if not connection.can_read(timeout=_REPLY_SECONDS):
            connection.disconnect()  # its late reply must not answer the next command
            return None
        return bool(connection.read_response())
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _connection(pool: Any) -> Any:
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 wants the command's name
        return pool.get_connection("SISMEMBER")
