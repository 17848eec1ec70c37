"""Answered requests, counted for Prometheus and written to the access log, in batches.

An answer does not wait for that, and a batch costs much less than one request at a time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from docservice.log import logger

if TYPE_CHECKING:
    from docservice.log import AccessLog, Answered
    from docservice.metrics import Metrics

_MAX_WAITING = 512


class RequestLog:
    """Collects answered requests; call :meth:`flush` regularly, before a scrape, and at the end."""

    def __init__(self, metrics: Metrics, access_log: AccessLog) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._waiting: list[Answered] = []
        self._lost = 0
        self._instruments: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def add(self, answered: Answered) -> None:
        """Add one request."""
        self._waiting.append(answered)
        if len(self._waiting) >= _MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Count and write the collected requests."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        by_kind: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
        for answered in waiting:
            by_kind[answered.route, answered.method, answered.status].append(answered.seconds)
        for kind, times in by_kind.items():
            count, seconds = self._of(*kind)
            count.inc(len(times))
            for taken in times:
                seconds.observe(taken)
        try:
            self._access_log.write(waiting)
        except (OSError, ValueError):  # nobody reads it, or it is closed: requests are answered all the same
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
