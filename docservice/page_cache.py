"""Pages and identities in Redis, by version: a read that follows an acknowledged write never sees the old.

Every page belongs to a module, every module has a version, a random text. A reader takes the version first,
then asks Postgres, and stores the page with the version in front; the page is good as long as the version
is the same. A writer commits, sets a new version, and answers only then.

Versions are drawn at random, not counted: one that was evicted cannot come back as the same number. And all
of them stand under an epoch that every new connection draws again when it finds that the server is not the
one that the epoch was drawn on (its ``run_id``). A restart breaks every connection, so pages and versions
that come back from a disk are never believed, however old they are.

A process keeps the pages that it saw lately in its own memory as well, and believes them no more than those
in Redis: each read asks for the versions.

When Redis does not answer, readers bypass it; after a failure they leave it alone for a moment. A writer
tries again, then answers all the same, and goes on trying in the background; until it succeeds its own
process bypasses the module. What remains is a writer that alone is cut off from Redis while readers are not:
there pages are at most ``page_seconds`` old.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import OutOfMemoryError, RedisError

from docservice.batching import Batcher
from docservice.connections import RedisAddress, RedisTuning, redis_client, redis_reader
from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis.asyncio

    from docservice.metrics import Metrics

_EPOCH = "docservice:epoch"
_RUN = "docservice:run"
#: Versions outlive every page that was stored with them.
_VERSION_SECONDS = 30 * 86_400
_REST_SECONDS = 1.0
_MOST_TOGETHER = 32
_MOST_KEPT_BYTES = 32 * 2**20
_FAULTS = (RedisError, OSError, TimeoutError)

# KEYS: the run's key, the epoch's. ARGV: the text for a new epoch.
_ADOPT = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', KEYS[1]) ~= run or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], ARGV[1])
  redis.call('SET', KEYS[1], run)
end
"""


async def _adopt(connection: Any) -> None:
    """Draw a new epoch when this new connection leads to another server than the epoch was drawn on."""
    await connection.on_connect()
    await connection.send_command("EVAL", _ADOPT, 2, _RUN, _EPOCH, secrets.token_hex(8))
    await connection.read_response()


def page_key(module: str, scope: str, digest: str) -> str:
    """The key of a page: of a module in its one form, for those who may see the same."""
    return f"docservice:grid:{module}:{scope}:{digest}"


def version_key(name: str) -> str:
    """The key of the version of a module, or of the identities."""
    return f"docservice:version:{name}"


#: The name of the version that every change of a token raises. No module's name has a colon.
IDENTITIES = "auth:identities"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the cache said: a ``value`` that is still good, or None.

    ``stamp`` is the version to store a value with; None when nothing can be stored: bypass.
    ``identities`` is the version of the identities, None when it is not known.
    """

    value: bytes | None
    stamp: bytes | None
    identities: bytes | None


_BYPASS = Reading(value=None, stamp=None, identities=None)


class Cache:
    """The service's only client of Redis, apart from Celery's."""

    def __init__(self, address: RedisAddress, tuning: RedisTuning, metrics: Metrics) -> None:
        self._redis: redis.asyncio.Redis = redis_client(address, tuning, on_connect=_adopt)
        self._reader = redis_reader(self._redis)
        self._metrics = metrics
        self._log = logger("cache")
        self._batcher: Batcher[tuple[str, ...], list[bytes | None]] = Batcher(
            self._mget, most=_MOST_TOGETHER, at_once=1
        )
        self._loads: dict[tuple[str, bytes], asyncio.Task[bytes]] = {}
        # By key: the stamp and the value. Believed only under the version that Redis tells at each read.
        self._kept: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._pending: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._rest_until = 0.0
        self._answered: bool | None = None  # as long as nobody asked

    async def close(self) -> None:
        """End what runs in the background and close the connections."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._batcher.ended()  # the reader's connection must not be given back twice
        await self._reader.aclose()
        await self._redis.aclose()

    async def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            await self._redis.ping()
        except _FAULTS as fault:
            self._fell_silent(fault)
            return False
        self._spoke()
        return True

    # Reading

    async def read(self, key: str, version: str) -> Reading:
        """The value of ``key``, when it was stored with what ``version`` still is."""
        if version in self._pending or time.monotonic() < self._rest_until:
            return _BYPASS
        kept = self._kept.get(key)
        versions = (version_key(version), _EPOCH, version_key(IDENTITIES))
        try:
            number, epoch, identities, *found = await self._batcher(versions if kept else (*versions, key))
            if epoch is None:  # evicted
                epoch = await self._begin(_EPOCH)
            if number is None:
                number = await self._begin(versions[0])
            if identities is None:
                identities = await self._begin(versions[2])
            stamp = epoch + b"." + number + b"\n"
            if kept is not None and kept[0] != stamp:  # another process may have stored the new one
                kept = None
                found = await self._batcher((key,))
        except _FAULTS as fault:
            self._fell_silent(fault)
            return _BYPASS
        if kept is None and found[0] is not None and found[0].startswith(stamp):
            kept = stamp, found[0][len(stamp) :]
            self._keep(key, kept)
        return Reading(
            value=None if kept is None else kept[1], stamp=stamp, identities=epoch + b"." + identities
        )

    def _keep(self, key: str, value: tuple[bytes, bytes]) -> None:
        """Keep a value here too, so that only versions travel; the oldest give way."""
        before = self._kept.pop(key, None)
        self._kept_bytes += len(value[1]) - (0 if before is None else len(before[1]))
        self._kept[key] = value
        while self._kept_bytes > _MOST_KEPT_BYTES:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)

    async def _mget(self, items: list[tuple[str, ...]]) -> list[list[bytes | None]]:
        if time.monotonic() < self._rest_until:  # it fell silent while these waited: they need not, in turn
            raise RedisError("Redis did not answer a moment ago")
        # Those who ask together mostly ask for the same versions.
        keys = list(dict.fromkeys(itertools.chain.from_iterable(items)))
        try:
            values: list[Any] = await self._reader.mget(keys)
        except _FAULTS as fault:
            self._fell_silent(fault)
            raise
        self._spoke()
        found = dict(zip(keys, values, strict=True))
        return [[found[name] for name in names] for names in items]

    async def _begin(self, key: str) -> bytes:
        """Give a version that is missing a random beginning; whoever comes first draws it."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(key, secrets.token_hex(8), nx=True, ex=_VERSION_SECONDS)
            pipe.get(key)
            _, value = await pipe.execute()
        if value is None:
            raise RedisError(f"{key} was evicted as soon as it was set; Redis needs more memory")
        return bytes(value)

    # Storing

    async def store(self, key: str, stamp: bytes, value: bytes, *, seconds: int) -> None:
        """Store a value with the stamp that was read before it was made; a failure is not the caller's."""
        try:
            await self._redis.set(key, stamp + value, ex=seconds)
        except _FAULTS as fault:
            self._fell_silent(fault)

    async def load(
        self, key: str, stamp: bytes, make: Callable[[], Awaitable[bytes]], *, seconds: int
    ) -> bytes:
        """Make and store the value that the cache did not have: one at a time for each key and version.

        Who comes later with the same stamp waits for the same value: it was begun after that version.
        """
        task = self._loads.get((key, stamp))
        if task is None:
            task = asyncio.create_task(self._load(key, stamp, make, seconds=seconds))
            self._loads[key, stamp] = task
            task.add_done_callback(lambda _: self._loads.pop((key, stamp), None))
        return await asyncio.shield(task)

    async def _load(
        self, key: str, stamp: bytes, make: Callable[[], Awaitable[bytes]], *, seconds: int
    ) -> bytes:
        begun = time.perf_counter()
        value = await make()
        self._metrics.cache_load_seconds.observe(time.perf_counter() - begun)
        self._go(self.store(key, stamp, value, seconds=seconds))
        return value

    # Writing

    async def raise_version(self, name: str) -> None:
        """Make all that was stored with this version worthless. Call it after the commit, before the answer.

        When Redis does not answer it goes on trying in the background, and returns.
        """
        if not await self.try_raise_version(name) and name not in self._pending:
            self._pending.add(name)
            self._metrics.pending_versions.set(len(self._pending))
            self._go(self._raise_later(name))

    async def settle(self, *, within_seconds: float) -> None:
        """Wait for what runs in the background, but no longer than that."""
        if self._background:
            await asyncio.wait(self._background, timeout=within_seconds)

    async def try_raise_version(self, name: str) -> bool:
        """As :meth:`raise_version`, once; False when Redis did not take it."""
        try:
            await self._redis.set(version_key(name), secrets.token_hex(8), ex=_VERSION_SECONDS)
        except OutOfMemoryError:
            return await self._drop_version(name)
        except _FAULTS as fault:
            self._fell_silent(fault)
            return False
        self._spoke()
        return True

    async def _drop_version(self, name: str) -> bool:
        """What a full Redis still does: without a version no page is believed."""
        try:
            await self._redis.delete(version_key(name))
        except _FAULTS as fault:
            self._fell_silent(fault)
            return False
        return True

    async def _raise_later(self, name: str) -> None:
        while not await self.try_raise_version(name):  # noqa: ASYNC110 - it is Redis that we wait for
            await asyncio.sleep(0.2)
        self._pending.discard(name)
        self._metrics.pending_versions.set(len(self._pending))

    def _go(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Health

    def _spoke(self) -> None:
        if self._answered:
            return
        if self._answered is False:
            self._log.info("redis.answers")
        self._answered = True
        self._metrics.redis_up.set(1)

    def _fell_silent(self, fault: BaseException) -> None:
        self._rest_until = time.monotonic() + _REST_SECONDS
        if self._answered is not False:
            self._log.warning("redis.unresponsive", fault=type(fault).__name__)
        self._answered = False
        self._metrics.redis_up.set(0)
