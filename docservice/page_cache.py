"""Pages and identities in Redis, by version: a read that follows an acknowledged write never sees old data.

What belongs here: versions and cached values. Never: connections, SQL, HTTP, Celery.

Every page belongs to a module, and every module has a version, a random text. A reader takes the version
first, then queries Postgres, and stores the page with the version as its prefix; the page is valid as long as
the version is the same. A writer commits, sets a new version, and only then answers.

Versions are random, not counted: one that was evicted cannot come back with the same value. All of them are
combined with an epoch, which every new connection renews when it finds that the server's ``run_id`` is not
the one that the epoch was set on. A restart breaks every connection, so pages and versions that Redis loads
from disk are never valid, however old they are.

A process also keeps pages in its own memory, and checks their version in Redis on every read. A page that it
loaded itself is kept for the time that Redis keeps it; one that another process stored, for at most
``_COPY_SECONDS``. So no page is older than its expiry plus that.

When Redis does not answer, readers bypass the cache, and skip Redis for a moment after a failure. A writer
tries again, then answers anyway, and keeps trying in the background; until it succeeds its own process
bypasses the module. One case remains: a writer that alone is cut off from Redis while readers are not. There
pages are at most that old.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import OutOfMemoryError, RedisError

from docservice.batching import Batcher
from docservice.log import logger
from docservice.redis_client import EPOCH, Reader, async_redis_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from autoscaler.api import RedisTuning, RedisUrl
    from docservice.metrics import Metrics

#: Versions outlive every page that was stored with them.
_VERSION_SECONDS = 30 * 86_400
_PAUSE_SECONDS = 1.0
_MAX_READS = 32
_COPY_SECONDS = 1.0
_MAX_MEMORY_BYTES = 32 * 2**20
#: What one entry in memory costs beside its key and value.
_ENTRY_BYTES = 400
_PROBE = "docservice:check"
_PROBE_SECONDS = 60
_FAULTS = (RedisError, OSError, TimeoutError)


def page_key(module: str, scope: str, digest: str) -> str:
    """The key of a page: of a module in its normal form, for callers with the same rights."""
    return f"docservice:grid:{module}:{scope}:{digest}"


def version_key(name: str) -> str:
    """The key of the version of a module, or of the identities."""
    return f"docservice:version:{name}"


#: The name of the version that every change of a token renews. No module's name has a colon.
IDENTITIES = "auth:identities"
_IDENTITIES_KEY = version_key(IDENTITIES)


class Reading(NamedTuple):
    """One read of the cache: a valid ``value``, or None.

    ``stamp`` is the version to store a value with; None means bypass: nothing can be stored.
    ``identities`` is the version of the identities now; None when it is unknown.
    """

    value: bytes | None
    stamp: bytes | None
    identities: bytes | None


_BYPASS = Reading(value=None, stamp=None, identities=None)


class _Kept(NamedTuple):
    """A value in this process's memory; ``until`` is monotonic seconds."""

    stamp: bytes
    value: bytes
    until: float


class _Memory:
    """The values that this process keeps itself: at most ``max_bytes`` of them, the oldest leave first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return self._bytes

    def get(self, key: str) -> _Kept | None:
        """The entry of ``key`` when its time is not over."""
        kept = self._kept.get(key)
        if kept is not None and kept.until <= time.monotonic():
            self.drop(key)
            return None
        return kept

    def drop(self, key: str) -> None:
        """Remove an entry if there is one."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _entry_bytes(key, kept)

    def keep(self, key: str, kept: _Kept) -> None:
        """Add or replace an entry."""
        self.drop(key)
        self._kept[key] = kept
        self._bytes += _entry_bytes(key, kept)
        while self._bytes > self._max_bytes:
            self.drop(next(iter(self._kept)))


def _entry_bytes(key: str, kept: _Kept) -> int:
    return _ENTRY_BYTES + len(key) + len(kept.stamp) + len(kept.value)


class Cache:
    """Pages and identities in Redis; every process has one."""

    def __init__(
        self,
        url: RedisUrl,
        tuning: RedisTuning,
        metrics: Metrics,
        *,
        max_memory_bytes: int = _MAX_MEMORY_BYTES,
    ) -> None:
        self._redis = async_redis_client(url, tuning)
        self._reader = Reader(self._redis.connection_pool)
        self._batcher: Batcher[tuple[str, ...], list[bytes | None]] = Batcher(
            self._mget, max_items=_MAX_READS, max_in_flight=1
        )
        self._metrics = metrics
        self._log = logger("cache")
        self._loads: dict[tuple[str, bytes], asyncio.Task[bytes]] = {}
        self._memory = _Memory(max_memory_bytes)
        self._pending: dict[str, int] = {}  # by name, the writes whose new version Redis did not take
        self._background: set[asyncio.Task[None]] = set()
        self._paused_until = 0.0
        self._answered: bool | None = None  # None until the first call

    @property
    def memory_bytes(self) -> int:
        """The size of the values in this process's memory."""
        return self._memory.bytes

    async def close(self) -> None:
        """Stop background work and close the connections."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._batcher.finished()  # the reader's connection must not be returned twice
        await self._reader.close()
        await self._redis.aclose()

    async def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            await self._redis.ping()
        except _FAULTS as fault:
            self._failed(fault)
            return False
        self._succeeded()
        return True

    async def refusal(self) -> str | None:
        """Why Redis takes no write, such as when it is full or a replica; None when it takes one."""
        try:
            await self._redis.set(_PROBE, b"", ex=_PROBE_SECONDS)
            await self._redis.delete(_PROBE)
        except _FAULTS as fault:
            return str(fault) or type(fault).__name__
        return None

    # Reading

    async def read(self, key: str | None, version: str) -> Reading:
        """The value of ``key`` when it was stored with the current ``version``; None reads versions only."""
        if version in self._pending or time.monotonic() < self._paused_until:
            return _BYPASS
        kept = None if key is None else self._memory.get(key)
        names = [version_key(version), EPOCH, _IDENTITIES_KEY]
        if key is not None and kept is None:
            names.append(key)
        try:
            number, epoch, identities, *found = await self._values(names)
            stamp = epoch + b"." + number + b"\n"
            if kept is not None and kept.stamp != stamp:
                kept = None  # another process may have stored the new one
                found = await self._batcher((key or "",))
        except _FAULTS as fault:
            self._failed(fault)
            return _BYPASS
        if key is not None and kept is None and found[0] is not None and found[0].startswith(stamp):
            kept = _Kept(stamp, found[0][len(stamp) :], time.monotonic() + _COPY_SECONDS)
            self._memory.keep(key, kept)
        return Reading(
            value=None if kept is None else kept.value, stamp=stamp, identities=epoch + b"." + identities
        )

    async def _values(self, names: list[str]) -> list[Any]:
        """The values of the three versions, each created when it is missing, and of what follows them."""
        values: list[Any] = await self._batcher(tuple(names))
        for place in range(3):
            if values[place] is None:  # evicted, or the first read of all
                values[place] = await self._create_version(names[place])
        return values

    async def _mget(self, items: list[tuple[str, ...]]) -> list[list[bytes | None]]:
        if time.monotonic() < self._paused_until:  # Redis failed while these waited: do not wait again
            raise RedisError("Redis did not answer a moment ago")
        # Reads that go together mostly ask for the same versions.
        keys = list(dict.fromkeys(itertools.chain.from_iterable(items)))
        try:
            values = await self._reader.mget(keys)
        except _FAULTS as fault:
            self._failed(fault)
            raise
        self._succeeded()
        found = dict(zip(keys, values, strict=True))
        return [[found[name] for name in names] for names in items]

    async def _create_version(self, key: str) -> bytes:
        """Create a version that is missing; of several processes the first one wins."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(key, secrets.token_hex(8), nx=True, ex=_VERSION_SECONDS)
            pipe.get(key)
            _, value = await pipe.execute()
        if value is None:
            raise RedisError(f"{key} was evicted as soon as it was set; Redis needs more memory")
        return bytes(value)

    # Storing

    async def store(self, key: str, stamp: bytes, value: bytes, *, seconds: int) -> None:
        """Store a value with the stamp that was read before it was made; failures are not raised."""
        try:
            await self._redis.set(key, stamp + value, ex=seconds)
        except _FAULTS as fault:
            self._failed(fault)

    async def load(
        self, key: str, stamp: bytes, make: Callable[[], Awaitable[bytes]], *, seconds: int
    ) -> bytes:
        """Make and store a value that the cache did not have: one at a time for each key and version.

        Later callers with the same stamp wait for the same value: it was begun after that version.
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
        begun = time.monotonic()
        value = await make()
        self._metrics.cache_load_seconds.observe(time.monotonic() - begun)
        self._memory.keep(key, _Kept(stamp, value, begun + seconds))
        self._go(self.store(key, stamp, value, seconds=seconds))
        return value

    # Writing

    async def raise_version(self, name: str) -> None:
        """Invalidate everything stored with this version. Call it after the commit, before the answer.

        When Redis does not answer it keeps trying in the background, and returns.
        """
        if await self.try_raise_version(name):
            return
        self._pending[name] = self._pending.get(name, 0) + 1
        if self._pending[name] == 1:
            self._metrics.pending_versions.set(len(self._pending))
            self._go(self._raise_later(name))

    async def settle(self, *, within_seconds: float) -> None:
        """Wait for the background work, but no longer than that."""
        if self._background:
            await asyncio.wait(self._background, timeout=within_seconds)

    async def try_raise_version(self, name: str) -> bool:
        """As :meth:`raise_version`, once; False when Redis did not take it."""
        try:
            await self._redis.set(version_key(name), secrets.token_hex(8), ex=_VERSION_SECONDS)
        except OutOfMemoryError:
            return await self._delete_version(name)
        except _FAULTS as fault:
            self._failed(fault)
            return False
        self._succeeded()
        return True

    async def forget_all(self) -> bool:
        """Invalidate every page and identity, whoever stored it; False when Redis did not take it."""
        try:
            await self._redis.set(EPOCH, secrets.token_hex(8))
        except _FAULTS as fault:
            self._failed(fault)
            return False
        return True

    async def _delete_version(self, name: str) -> bool:
        """What a full Redis still accepts: without a version no page is valid."""
        try:
            await self._redis.delete(version_key(name))
        except _FAULTS as fault:
            self._failed(fault)
            return False
        return True

    async def _raise_later(self, name: str) -> None:
        while True:
            writes = self._pending[name]
            if await self.try_raise_version(name) and self._pending[name] == writes:
                break  # else there was a write after this version was sent: it needs another one
            await asyncio.sleep(0.2)
        del self._pending[name]
        self._metrics.pending_versions.set(len(self._pending))

    def _go(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Health

    def _succeeded(self) -> None:
        if self._answered:
            return
        if self._answered is False:
            self._log.info("redis.available")
        self._answered = True
        self._metrics.redis_up.set(1)

    def _failed(self, fault: BaseException) -> None:
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        if self._answered is not False:
            self._log.warning("redis.unavailable", fault=type(fault).__name__)
        self._answered = False
        self._metrics.redis_up.set(0)
