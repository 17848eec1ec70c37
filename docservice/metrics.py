"""The metrics of the document service, in a registry of its own. No label ever holds what a caller wrote.

Requests are counted in batches: those that another process of the same API has answered within the last half
second may be missing from a scrape.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The instruments of one process; several processes of one API are summed by prometheus-client."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "docservice_http_requests_total",
            "Requests by route and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "docservice_http_request_seconds",
            "Seconds until the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._add_cache(registry)
        self._add_documents(registry)
        self.background_failures = Counter(
            "docservice_background_failures_total",
            "Failures of background tasks; each is restarted.",
            ("task",),
            registry=registry,
        )
        self.admin_refused = Counter(
            "docservice_admin_refused_total",
            "Requests to admin routes that were refused before their work.",
            ("status",),
            registry=registry,
        )

    def _add_cache(self, registry: CollectorRegistry) -> None:
        cache = Counter(
            "docservice_cache_reads_total",
            "Grid pages read from the cache, by result.",
            ("result",),
            registry=registry,
        )
        self.cache_hits = cache.labels("hit")
        self.cache_misses = cache.labels("miss")
        self.cache_bypasses = cache.labels("bypass")
        self.cache_load_seconds = Histogram(
            "docservice_cache_load_seconds",
            "Seconds to load a page that the cache did not have.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.pending_versions = Gauge(
            "docservice_cache_pending_versions",
            "Modules whose new version is not in Redis yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.redis_up = Gauge(
            "docservice_redis_up",
            "1 when the last call to Redis succeeded.",
            registry=registry,
            multiprocess_mode="livemin",
        )

    def _add_documents(self, registry: CollectorRegistry) -> None:
        self.uploads = Counter(
            "docservice_uploads_total", "Uploaded files, by result.", ("result",), registry=registry
        )
        self.enqueued = Counter(
            "docservice_enqueued_total", "Documents sent to the workers.", ("by",), registry=registry
        )
        self.oldest_unprocessed = Gauge(
            "docservice_oldest_unprocessed_seconds",
            "How long the oldest document waits that no worker has claimed, as of the last sweep.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.swept = Counter(
            "docservice_swept_total",
            "Documents that a sweep sent, returned or failed.",
            ("result",),
            registry=registry,
        )

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self._registry)
        _forget_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """Drop the gauges of processes that are gone: their last values would stay for ever."""
    for file in folder.glob("gauge_live*_*.db"):
        number = file.stem.rpartition("_")[2]
        if not Path("/proc", number).exists():
            with suppress(FileNotFoundError):  # another process is at it
                mark_process_dead(int(number), str(folder))  # type: ignore[no-untyped-call]
