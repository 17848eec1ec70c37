"""One acting autoscaler for a fleet.

Advisory: it keeps two daemons from doing the same work, and harm is impossible all the same, since sizes are
bounded and a resize is absolute. The lease is redis-py's lock with an expiry: whoever holds it acts, the
others watch, and it passes on when its holder stops renewing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import LockError, RedisError

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

        Raises:
            redis.RedisError: when Redis fails; whether the lease is still ours is unknown then.
        """
        if self._held is not None:
            held, self._held = self._held, None
            try:
                held.reacquire()
            except LockError:
                pass  # another has it, or it expired: try to take it like anybody else
            else:
                self._held = held
                return True
        lock = self._redis().lock(self._key, timeout=self._seconds, thread_local=False)
        if not lock.acquire(blocking=False):
            return False
        self._held = lock
        return True

    def release(self) -> None:
        """Give it up, so that another takes over at once; one that is lost already is no fault."""
        if self._held is None:
            return
        try:
            self._held.release()
        except (LockError, RedisError):
            return
        finally:
            self._held = None
