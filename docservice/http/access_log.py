"""Requests that were answered, counted for Prometheus and written to the access log, in lots.

An answer does not wait for that, and many at once cost much less than each among other work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docservice.log import logger

if TYPE_CHECKING:
    from docservice.log import AccessLog, Answered
    from docservice.metrics import Metrics

_MOST_WAITING = 512


class RequestLog:
    """Takes requests as they are answered; :meth:`flush` it now and then, before a scrape, and at the end."""

    def __init__(self, metrics: Metrics, access_log: AccessLog) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._waiting: list[Answered] = []
        self._lost = 0
        self._instruments: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def add(self, answered: Answered) -> None:
        """Take one request."""
        self._waiting.append(answered)
        if len(self._waiting) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Count and write what was taken."""
        waiting, self._waiting = self._waiting, []
        for answered in waiting:
            count, seconds = self._of(answered.route, answered.method, answered.status)
            count.inc()
            seconds.observe(answered.seconds)
        if not waiting:
            return
        try:
            self._access_log.write(waiting)
        except (OSError, ValueError):  # nobody reads, or it is closed: no reason not to answer
            self._lost += len(waiting)
        else:
            if self._lost:
                lost, self._lost = self._lost, 0
                logger("access").warning("access_log.lines_lost", lines=lost)

    def _of(self, route: str, method: str, status: int) -> tuple[Any, Any]:
        known = self._instruments.get((route, method, status))
        if known is None:
            known = (
                self._metrics.requests.labels(route, method, str(status)),
                self._metrics.request_seconds.labels(route),
            )
            self._instruments[route, method, status] = known
        return known
