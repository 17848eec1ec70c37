"""Probes, metrics, status and the page for people on one port.

``/livez`` answers whether the loop ticks, ``/readyz`` whether Redis was read lately. Neither looks at the
worker: a sidecar must not keep its pod from getting ready, and a restart repairs no broker. A page that
fails is answered with 500, logged and counted.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter
from prometheus_client.exposition import choose_encoder

from autoscaler.report.page import JSON, Response, plain_text
from autoscaler.report.streams import TooManyStreamsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from structlog.typing import FilteringBoundLogger

    from autoscaler.report.page import Site

#: What the kernel may hold for a reader of a stream: little, so that one that reads nothing is noticed.
_STREAM_BUFFER_BYTES = 64 * 1024
_PATHS = "/livez /readyz /metrics /status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What the pages show: each a function of this moment. ``live`` and ``ready`` return a fault or None.

    ``failed`` takes the path of a page that raised, and what it raised. ``site`` is the page for people,
    None where there is none.
    """

    live: Callable[[], str | None]
    ready: Callable[[], str | None]
    status: Callable[[], Mapping[str, Any]]
    registry: CollectorRegistry
    failed: Callable[[str, BaseException], None]
    site: Site | None = None

    def answer(self, path: str, query: str, accept: str, known: str) -> Response:
        """The page under ``path``; ``known`` are the ETags that the peer has."""
        if path == "/livez":
            return _probe(self.live())
        if path == "/readyz":
            return _probe(self.ready())
        if path == "/status":
            body = json.dumps(self.status(), indent=2) + "\n"
            return Response(status=HTTPStatus.OK, content_type=JSON, body=body.encode())
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Response(status=HTTPStatus.OK, content_type=content_type, body=encode(self.registry))
        found = None if self.site is None else self.site.answer(path, query, known)
        return found or _text(HTTPStatus.NOT_FOUND, f"try {'/ /history ' if self.site else ''}{_PATHS}")


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


def _probe(fault: str | None) -> Response:
    if fault is None:
        return _text(HTTPStatus.OK, "ok")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, fault)


def _text(status: HTTPStatus, text: str) -> Response:
    return Response(status=status, content_type="text/plain", body=f"{text}\n".encode())


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_version = "autoscaler"
    sys_version = ""
    timeout = 10  # a peer that sends or reads nothing does not keep its thread

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        site = self.pages.site
        inner = path if site is None else site.path(path)
        if inner is None:
            self._answer(_moved(f"{path.rpartition('/')[2]}/"))
        elif site is not None and inner == "/events" and self.command == "GET":
            self._stream(site)
        else:
            self._answer(self._page(inner, query))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request, or one that is not answered here, in one line."""
        answer = _text(HTTPStatus(code), message or explain or HTTPStatus(code).phrase)
        if code == HTTPStatus.NOT_IMPLEMENTED:
            answer = _text(HTTPStatus.METHOD_NOT_ALLOWED, "these pages are read by GET and HEAD")
            answer = replace(answer, headers={"Allow": "GET, HEAD"})
        self.close_connection = True
        self._answer(answer)

    def _page(self, path: str, query: str) -> Response:
        accept, known = self.headers.get("Accept", ""), self.headers.get("If-None-Match", "")
        try:
            return self.pages.answer(path, query, accept, known)
        except Exception as fault:  # noqa: BLE001 - whatever a page raises, it is answered and reported
            self.pages.failed(path, fault)
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log")

    def _answer(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        if response.status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _stream(self, site: Site) -> None:
        try:
            with site.streams.stream() as events:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_BUFFER_BYTES)
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Accel-Buffering", "no")  # or nginx would keep the events to itself
                self.end_headers()
                for event in events:
                    self.wfile.write(event)
        except TooManyStreamsError:
            self._answer(_too_many())
        except OSError:
            pass  # the reader is gone, or reads nothing

    def log_message(self, *_: object) -> None:
        """Write nothing: probes come every few seconds."""


def _moved(location: str) -> Response:
    headers = {"Location": location, "Cache-Control": "no-store"}
    return Response(
        status=HTTPStatus.PERMANENT_REDIRECT, content_type="text/plain", body=b"", headers=headers
    )


def _too_many() -> Response:
    answer = plain_text(
        HTTPStatus.SERVICE_UNAVAILABLE, "too many pages follow this daemon; close one, or ask again later"
    )
    return replace(answer, headers={**answer.headers, "Retry-After": "10"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: Many pages that connect again at once must not wait for a retry of TCP.
    request_queue_size = 128

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
        if pages.site is not None:
            pages.site.streams.close()
        server.shutdown()
        server.server_close()
        thread.join()
