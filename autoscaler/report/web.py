"""Probes, metrics and status on one port.

``/livez`` tells whether the loop ticks, ``/readyz`` whether Redis was read lately. Neither looks at the
worker: a sidecar must not hold its pod back, and a restart mends no broker.
"""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What the pages show: each a function of this moment. ``live`` and ``ready`` return a fault or None."""

    live: Callable[[], str | None]
    ready: Callable[[], str | None]
    status: Callable[[], Mapping[str, Any]]
    registry: CollectorRegistry


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_version = "autoscaler"
    sys_version = ""
    timeout = 10  # a peer that sends nothing does not keep its thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._probe(self.pages.live())
        elif path == "/readyz":
            self._probe(self.pages.ready())
        elif path == "/status":
            body = json.dumps(self.pages.status(), indent=2) + "\n"
            self._answer(HTTPStatus.OK, "application/json", body.encode())
        elif path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.pages.registry))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"try /livez /readyz /metrics /status\n")

    def _probe(self, fault: str | None) -> None:
        if fault is None:
            self._answer(HTTPStatus.OK, "text/plain", b"ok\n")
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{fault}\n".encode())

    def _answer(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
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

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), handler)

    def handle_error(self, *_: object) -> None:
        """A peer that hangs up is no fault of ours."""


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
