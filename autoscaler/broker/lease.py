"""One acting autoscaler for a fleet.

Advisory: it keeps two daemons from doing the same work, and harm is impossible all the same, since sizes are
bounded and a resize is absolute. The lease is redis-py's lock with an expiry: whoever holds it acts, the
others watch, and it passes on when its holder stops renewing it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from redis.exceptions import LockError, RedisError, ResponseError

from autoscaler.broker.errors import BrokerError, broker_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.lock import Lock


class Lease:
    """A lease under ``key`` that lasts ``seconds`` after each renewal."""

    def __init__(self, redis: Callable[[], Redis], key: str, *, seconds: float) -> None:
        self._redis = redis
        self._key = key
        self._seconds = seconds
        self._held: Lock | None = None

    def hold(self) -> bool:
        """Take or renew the lease; True where it is ours now.

        Our token is kept when Redis fails: the renewal may have reached it, and the next call renews with the
        same token.

        Raises:
            BrokerError: when Redis fails or the key is not a lease; whether it is still ours is unknown then.
        """
        with broker_errors():
            try:
                return self._renew() or self._take()
            except ResponseError as fault:
                if "WRONGTYPE" not in str(fault):
                    raise
                raise BrokerError(
                    f"lease: the key {self._key} is not a string", f"delete the key {self._key}"
                ) from fault

    def release(self) -> None:
        """Let another take over at once; a lease that is lost already, or a Redis that fails, is no error."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(LockError, BrokerError), broker_errors():
                held.release()

    def _renew(self) -> bool:
        if self._held is None:
            return False
        self._held.redis = self._redis()  # the client is another one after a fault
        try:
            self._held.reacquire()
        except LockError:
            self._held = None  # expired, or another has it: compete for it like everyone else
            return False
        return True

    def _take(self) -> bool:
        lock = self._redis().lock(self._key, timeout=self._seconds, thread_local=False)
        token = uuid4().hex
        try:
            acquired = lock.acquire(blocking=False, token=token)
        except (OSError, RedisError):
            # It may have been set all the same: with its token the next call finds out.
            lock.local.token = token.encode()
            self._held = lock
            raise
        if acquired:
            self._held = lock
            return True
        self._redis().get(self._key)  # raises WRONGTYPE for a key that no daemon has set
        return False
