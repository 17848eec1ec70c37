"""Whether the publishing times of messages can be true: publishers' clocks may be minutes off.

Pure but for what it remembers; times are epoch seconds of the reader's clock. A message cannot be from the
future, and one that a queue holds now cannot be older than the moment when the queue was last seen empty,
unless it was delivered before and came back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.worker.published_at import published_at, was_delivered_before

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: Clocks that differ by less do no harm that anybody would notice.
TOLERANCE_SECONDS = 60.0
#: How long a queue's stamps are not used after one that cannot be true.
DISTRUST_SECONDS = 600.0


class StampCheck:
    """Remembers when each queue was last empty, and whose stamps are not to be trusted."""

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}
        self._wrong_at: dict[str, float] = {}

    def oldest_age(
        self, queue: str, waiting: int, messages: Sequence[bytes], now: float
    ) -> tuple[float | None, bool]:
        """Age in seconds of the oldest of ``messages``, and whether the queue's stamps are to be trusted.

        The age is 0 or more, and None where none is stamped or they are not trusted.
        """
        if waiting == 0:
            self._empty_at[queue] = now
        stamps = {message: at for message in messages if (at := published_at(message)) is not None}
        if any(self._is_wrong(queue, message, at, now) for message, at in stamps.items()):
            self._wrong_at[queue] = now
        if now - self._wrong_at.get(queue, float("-inf")) < DISTRUST_SECONDS:
            return None, False
        return (max(0.0, now - min(stamps.values())) if stamps else None), True

    def keep(self, queues: Collection[str]) -> None:
        """Forget the queues that are not among these."""
        for known in (self._empty_at, self._wrong_at):
            for name in known.keys() - set(queues):
                del known[name]

    def _is_wrong(self, queue: str, message: bytes, at: float, now: float) -> bool:
        if at > now + TOLERANCE_SECONDS:
            return True
        empty_at = self._empty_at.get(queue)
        return (
            empty_at is not None and at < empty_at - TOLERANCE_SECONDS and not was_delivered_before(message)
        )
