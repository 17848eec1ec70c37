"""What the API and the worker need of a Redis user with an ACL, tried one by one and without any effect.

How it works: the server looks at the rights of a command when a transaction takes it in, and does nothing
before the transaction is executed. Each command is put into one that never is. ``ACL DRYRUN`` would need a
right of its own, which these users lack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from autoscaler.api import CANCELLED_KEY, redis_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docservice.config import Settings

_REPLIES = "docservice-check.reply.celery.pidbox"
_DEADLINES = "_kombu.binding_deadlines"
_SHA = "0" * 40
#: What Celery puts behind the name of a list for messages of a priority; all the lists are read together.
_PRIORITY = "\x06\x163"
#: What clients and Redis' own transport of Celery call with any key, or none.
_PLAIN = ("PING", "INFO server", "TIME", f"SCRIPT EXISTS {_SHA}", "SCRIPT LOAD x", f"EVALSHA {_SHA} 0")
_CACHE = (
    "EVAL x 2 docservice:run docservice:epoch",
    "MGET docservice:epoch",
    "GET docservice:run",
    "SET docservice:epoch x",
    "DEL docservice:epoch",
    "PEXPIRE docservice:epoch 1",
)
_REPLY = (
    f"LLEN {_REPLIES}",
    f"DEL {_REPLIES}",
    f"EXISTS {_REPLIES}",
    *(f"{word} _kombu.binding.reply.celery.pidbox x" for word in ("SADD", "SREM")),
    "SMEMBERS _kombu.binding.reply.celery.pidbox",
    "SREM _kombu.binding_permanent.reply.celery.pidbox x",
    "SMEMBERS _kombu.binding.celery.pidbox",
    f"ZADD {_DEADLINES} 0 x",
    f"ZREM {_DEADLINES} x",
    f"ZRANGEBYSCORE {_DEADLINES} 0 0",
)


def _both(settings: Settings) -> tuple[str, ...]:
    queue, name = settings.queue, settings.autoscaler_name
    return (
        *(*_PLAIN, *_CACHE, *_REPLY),
        f"PUBLISH /{settings.redis.db}.celery.pidbox x",
        *(f"LPUSH {queue} x", f"LLEN {queue}", f"SADD _kombu.binding.{queue} x"),
        f"SMEMBERS _kombu.binding.{queue}",
        f"SADD _kombu.binding_permanent.{queue} x",
        f"GET autoscaler:{name}:override",
        *(f"HSET {CANCELLED_KEY} x x", f"HDEL {CANCELLED_KEY} x", f"HGETALL {CANCELLED_KEY}"),
    )


def _of_the_api(settings: Settings) -> tuple[str, ...]:
    name = settings.autoscaler_name
    return (
        *_both(settings),
        *(f"BRPOP {_REPLIES} 1", f"BRPOP {_REPLIES}{_PRIORITY} 1", f"RPOP {_REPLIES}"),
        *(f"LRANGE {settings.queue} 0 0", f"LRANGE {settings.queue}{_PRIORITY} 0 0"),
        *(f"GET autoscaler:{name}:status", f"SET autoscaler:{name}:override x"),
    )


def _of_the_worker(settings: Settings) -> tuple[str, ...]:
    queue = settings.queue
    return (
        *_both(settings),
        *(
            f"BRPOP {queue} 1",
            f"BRPOP {queue}{_PRIORITY} 1",
            f"RPUSH {queue} x",
            f"LPUSH {_REPLIES} x",
            "ROLE",
        ),
        *("HSET unacked x x", "HGET unacked x", "HDEL unacked x", "ZADD unacked_index 0 x"),
        *(
            "ZREM unacked_index x",
            "ZRANGE unacked_index 0 0",
            "ZREVRANGEBYSCORE unacked_index 0 0",
            "SET unacked_mutex x",
        ),
        *("SADD _kombu.binding.celery.pidbox x", "SREM _kombu.binding_permanent.celery.pidbox x"),
        *(f"{word} /{settings.redis.db}.celery.pidbox" for word in ("SUBSCRIBE", "PSUBSCRIBE")),
        *("UNSUBSCRIBE x", "PUNSUBSCRIBE x"),
    )


#: By the word of ``docservice check --for``: what a part is called, and its commands.
PARTS = {"api": ("the API", _of_the_api), "worker": ("the worker", _of_the_worker)}


def refusal(settings: Settings, part: str | None = None) -> str | None:
    """What the user of Redis lacks for a part of :data:`PARTS`; None when it lacks nothing.

    Without ``part``, for the one that it comes nearest to. Also None where Redis does not answer at all: that
    is found elsewhere.
    """
    user = settings.redis.username or "default"
    found: dict[str, list[str]] = {}
    for name, commands in PARTS.values() if part is None else [PARTS[part]]:
        try:
            found[name] = list(_refused(settings, commands(settings)))
        except (RedisError, OSError) as fault:
            why = type(fault).__name__
            return f"the connection ended while the rights of the user {user} were tried ({why}); try again"
        if not found[name]:
            return None
    nearest = min(found, key=lambda name: len(found[name]))
    return (
        f"the user {user} lacks for {nearest}: {', '.join(found[nearest])}; grant that to the user, as"
        " deploy/redis/users.acl does"
    )


def _refused(settings: Settings, commands: tuple[str, ...]) -> Iterator[str]:
    client = redis_client(settings.redis, settings.redis_tuning)
    try:
        try:
            client.ping()  # names the connection, too, and would fail by that
        except NoPermissionError as fault:
            yield str(fault)
            return
        except (RedisError, OSError):
            return
        with client.client() as single:  # type: ignore[no-untyped-call]
            connection: Any = single.connection
            for words in (("WATCH", "docservice:check"), ("UNWATCH",), ("MULTI",), ("EXEC",)):
                if _refuses(connection, words):
                    yield _shown(words)
            if _refuses(connection, ("MULTI",)):
                return
            for command in dict.fromkeys(commands):
                if _refuses(connection, tuple(command.split(" "))):
                    yield _shown(tuple(command.split(" ")))
            connection.disconnect()  # nothing of it is executed
    finally:
        client.close()


def _refuses(connection: Any, words: tuple[str, ...]) -> bool:
    connection.send_command(*words)
    try:
        connection.read_response()
    except NoPermissionError:
        return True
    except ResponseError as fault:  # a refused EXEC ends its transaction, and says why
        return "NOPERM" in str(fault)
    return False


def _shown(words: tuple[str, ...]) -> str:
    """A command, with the key or channel it is about."""
    words = tuple(word.encode("unicode_escape").decode() for word in words)
    if words[0] == "SCRIPT":
        return " ".join(words[:2])
    if words[0] in ("EVAL", "EVALSHA"):
        return " ".join((words[0], *words[3:]))
    return " ".join(words[:2]) if len(words) > 1 and words[0] != "INFO" else words[0]
