"""Probes, metrics and status on one port.

``/livez`` answers whether the loop ticks, ``/readyz`` whether Redis was read lately. Neither looks at the
worker: a sidecar must not keep its pod from getting ready, and a restart repairs no broker. A page that
fails is answered with 500, logged and counted.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from structlog.typing import FilteringBoundLogger

Answer = tuple[HTTPStatus, str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What the pages show: each a function of this moment. ``live`` and ``ready`` return a fault or None.

    ``failed`` takes the path of a page that raised, and what it raised.
    """

    live: Callable[[], str | None]
    ready: Callable[[], str | None]
    status: Callable[[], Mapping[str, Any]]
    registry: CollectorRegistry
    failed: Callable[[str, BaseException], None]

    def answer(self, path: str, accept: str) -> Answer:
        """The page under ``path``: code, content type and body."""
        if path == "/livez":
            return _probe(self.live())
        if path == "/readyz":
            return _probe(self.ready())
        if path == "/status":
            body = json.dumps(self.status(), indent=2) + "\n"
            return HTTPStatus.OK, "application/json", body.encode()
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self.registry)
        return HTTPStatus.NOT_FOUND, "text/plain", b"try /livez /readyz /metrics /status\n"


def page_failures(
    log: FilteringBoundLogger, registry: CollectorRegistry
) -> Callable[[str, BaseException], None]:
    """A :attr:`Pages.failed` that logs each failure with its trace and counts it in ``registry``."""
    failures = Counter(
        "celery_autoscaler_page_failures",
        "Pages that failed with an error of the autoscaler's own.",
        ("path",),
        registry=registry,
    )

    def failed(path: str, fault: BaseException) -> None:
        failures.labels(path).inc()
        log.error("page.failed", path=path, exc_info=fault)

    return failed


def _probe(fault: str | None) -> Answer:
    if fault is None:
        return HTTPStatus.OK, "text/plain", b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{fault}\n".encode()


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_version = "autoscaler"
    sys_version = ""
    timeout = 10  # a peer that sends nothing does not keep its thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            code, content_type, body = self.pages.answer(path, self.headers.get("Accept", ""))
        except Exception as fault:  # noqa: BLE001 - whatever a page raises, it is answered and reported
            self.pages.failed(path, fault)
            code, content_type, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"see the log\n"
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing: probes come every few seconds."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[_Handler]) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self._failed = handler.pages.failed
        super().__init__((host, port), handler)

    def handle_error(self, *_: object) -> None:
        """A peer that hangs up is no fault of ours; anything else is."""
        fault = sys.exception()
        if fault is not None and not isinstance(fault, OSError):
            self._failed("connection", fault)


@contextmanager
def serving(pages: Pages, host: str, port: int) -> Iterator[int]:
    """Serve the pages while the context lasts; gives the port, a free one where ``port`` is 0.

    Raises:
        OSError: where the address cannot be bound.
    """
    handler = type("Handler", (_Handler,), {"pages": pages})
    server = _Server(host, port, handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="web", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
