"""The workers whose pods leave: ``autoscaler drain`` is emptying them, as the preStop hook of a pod does.

What belongs here: reading the records of drains. What may never enter: what they mean for an answer. Without
the right to read them nobody leaves, which is said once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.broker.errors import BrokerError
from autoscaler.control.drain import OWNER

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from autoscaler.control.consumers import Consumers


class Leaving:
    """Reads which workers leave."""

    def __init__(self, consumers: Consumers, log: FilteringBoundLogger) -> None:
        self._consumers = consumers
        self._log = log
        self._unread: str | None = None

    def read(self) -> frozenset[str]:
        """Their names; none where that cannot be read."""
        try:
            found = self._consumers.emptied_by(OWNER)
        except BrokerError as fault:
            if self._unread is None:
                self._unread = fault.with_advice()
                self._log.warning(
                    "keda.drains_unreadable",
                    why=self._unread,
                    consequence="a pod that drains counts as one that stays, and may be replaced for it",
                )
            return frozenset()
        self._unread = None
        return found
