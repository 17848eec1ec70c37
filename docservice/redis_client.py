"""The asynchronous client of Redis, and the epoch that each of its connections checks.

What belongs here: connections and how they are asked. Never: what is kept in Redis, but for the epoch, which
a new connection renews when it finds another server than the epoch was set on (see :mod:`page_cache`).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import redis.asyncio
import redis.asyncio.sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from autoscaler.api import client_options, sentinel_options, tls_options

if TYPE_CHECKING:
    from autoscaler.api import RedisTuning, RedisUrl

#: The key of the text that every version is combined with.
EPOCH = "docservice:epoch"
_RUN = "docservice:run"
# KEYS: the run's key, the epoch's. ARGV: the text for a new epoch.
_ADOPT = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', KEYS[1]) ~= run or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], ARGV[1])
  redis.call('SET', KEYS[1], run)
end
"""


async def _adopt(connection: Any) -> None:
    """Set a new epoch when this new connection leads to another server than the epoch was set on."""
    await connection.on_connect()
    await connection.send_command("EVAL", _ADOPT, 2, _RUN, EPOCH, secrets.token_hex(8))
    await connection.read_response()


def async_redis_client(url: RedisUrl, tuning: RedisTuning) -> redis.asyncio.Redis:
    """A client with a pool of its own that renews the epoch on each new connection."""
    options = client_options(url, tuning) | {
        # One retry on a fresh connection: a pooled one may have ended with a restarted server.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.asyncio.ConnectionError,)),
        "redis_connect_func": _adopt,
    }
    if url.sentinel_master is not None:
        arguments = sentinel_options(url, tuning) | {"retry": Retry(NoBackoff(), 0)}
        sentinel: Any = redis.asyncio.sentinel.Sentinel(list(url.hosts), sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]
        client: redis.asyncio.Redis = sentinel.master_for(url.sentinel_master, **options)
        return client
    if url.tls:
        options |= {"connection_class": redis.asyncio.SSLConnection, **tls_options(url)}
    host, port = url.hosts[0]
    pool: redis.asyncio.ConnectionPool = redis.asyncio.BlockingConnectionPool(
        host=host, port=port, timeout=options["socket_timeout"], **options
    )
    return redis.asyncio.Redis.from_pool(pool)


class Reader:
    """Reads values on one connection of the pool that it keeps; one call at a time.

    A connection taken for each read and the client's general method take twice the time of the read itself.
    """

    def __init__(self, pool: redis.asyncio.ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None

    async def mget(self, keys: list[str]) -> list[bytes | None]:
        """The value of each key, or None.

        Raises:
            RedisError: when Redis does not answer, also not on a new connection.
        """
        if self._connection is None:
            self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        connection = self._connection
        command = connection.pack_command("MGET", *keys)
        try:
            await connection.send_packed_command(command)  # connects again where that is needed
            values: list[bytes | None] = await connection.read_response()
        except redis.asyncio.ConnectionError:  # the kept one may have ended with a restarted server
            await connection.send_packed_command(command)
            values = await connection.read_response()
        return values

    async def close(self) -> None:
        """Give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)
