"""The page for people, its history and its stream, over real HTTP."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.report.page import HEADERS, Site, files
from autoscaler.report.streams import MAX_STREAMS, Streams
from autoscaler.report.web import Pages, serving
from tests.support.cluster import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEGAL = "it must be a time from 1s to 24h, as in 90s, 15m or 24h"
PARAMETERS = "the query cannot be read; it must be since=TIME and group=ID at most"


@dataclass
class Daemon:
    """Pages over a tick that a test sets."""

    base_path: str = ""
    tick: dict[str, Any] | None = field(default_factory=lambda: {"at": 1.5, "n": 1})
    asked: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[str, BaseException]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.streams = Streams(lambda: self.tick)

    def history(self, span_seconds: float, group: str) -> dict[str, Any] | None:
        self.asked.append((span_seconds, group))
        return None if group else {"span_seconds": span_seconds}

    def pages(self) -> Pages:
        return Pages(
            live=lambda: None,
            ready=lambda: None,
            status=dict,
            registry=CollectorRegistry(),
            failed=lambda path, fault: self.failures.append((path, fault)),
            site=Site(history=self.history, streams=self.streams, base_path=self.base_path),
        )

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        peer = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            peer.request("GET", path, headers=headers)
            answer = peer.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            peer.close()

    def follow(self, *, buffer_bytes: int | None = None) -> socket.socket:
        peer = socket.socket()
        if buffer_bytes is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        peer.settimeout(10)
        peer.connect(("127.0.0.1", self.port))
        peer.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 1.5\r\n\r\n")
        return peer


@pytest.fixture
def serve() -> Iterator[Callable[..., Daemon]]:
    with ExitStack() as stack:

        def start(**fields: Any) -> Daemon:
            daemon = Daemon(**fields)
            daemon.port = stack.enter_context(serving(daemon.pages(), "127.0.0.1", 0))
            return daemon

        yield start


def read_until(peer: socket.socket, end: bytes) -> bytes:
    found = b""
    while end not in found:
        more = peer.recv(65_536)
        if not more:
            break
        found += more
    return found


def test_the_page_and_all_that_it_names_is_served_with_headers_that_keep_it_to_itself(serve) -> None:
    daemon = serve()
    code, headers, body = daemon.get("/")
    named = set(re.findall(r'(?:src|href)="(static/[^"]+)"', body))

    assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert {
        f"static/{name}" for name in files() if name != "index.html" and not name.endswith(".js")
    } <= named
    for path in ("/", *(f"/{name}" for name in named), "/static/charts.js", "/reasons"):
        code, headers, _ = daemon.get(path)
        assert code == 200
        assert HEADERS.items() <= headers.items()
        assert headers["Cache-Control"] == "no-cache"


def test_no_file_of_the_page_has_inline_code_or_an_address_elsewhere() -> None:
    own = {name: body.decode() for name, (body, _) in files().items() if not name.startswith("uPlot")}
    elsewhere = {
        (name, address)
        for name, text in own.items()
        for address in re.findall(r"(?:https?:)?//[a-z][^\s\"'`]*\.[a-z]+[^\s\"'`]*", text)
    }
    assert elsewhere == {("icon.svg", "http://www.w3.org/2000/svg")}
    assert not re.search(r"<script(?![^>]* src=)|<style| on[a-z]+=| style=", own["index.html"])
    assert not any(re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", text) for text in own.values())


def test_the_chart_library_stands_unchanged_beside_its_licence() -> None:
    text = files()["uPlot.iife.min.js"][0].decode()
    assert text.startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")


def test_a_file_that_the_browser_has_is_not_sent_again(serve) -> None:
    daemon = serve()
    tag = daemon.get("/static/page.css")[1]["ETag"]

    for known in (tag, f'"other", W/{tag}'):
        code, headers, body = daemon.get("/static/page.css", **{"If-None-Match": known})
        assert (code, body, headers["ETag"]) == (304, "", tag)
    assert daemon.get("/static/page.css", **{"If-None-Match": '"other"'})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/index",
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/uPlot.LICENSE",
        "/x",
    ],
)
def test_anything_else_is_not_found_and_says_what_there_is(serve, path: str) -> None:
    code, _, body = serve().get(path)
    assert (code, body) == (404, "try / /history /livez /readyz /metrics /status\n")


@pytest.mark.parametrize(
    ("query", "span_seconds"),
    [
        ("", 3600),
        ("?since=15m", 900),
        ("?since=90s", 90),
        ("?since=90", 90),
        ("?since=24h", 86_400),
        ("?since=1.5h", 5400),
    ],
)
def test_the_history_of_a_span_is_json(serve, query: str, span_seconds: float) -> None:
    daemon = serve()
    code, headers, body = daemon.get(f"/history{query}")
    assert (code, headers["Content-Type"], json.loads(body)) == (
        200,
        "application/json",
        {"span_seconds": span_seconds},
    )
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("since=", f"since is ''; {LEGAL}"),
        ("since=0", f"since is '0'; {LEGAL}"),
        ("since=-1h", f"since is '-1h'; {LEGAL}"),
        ("since=25h", f"since is '25h'; {LEGAL}"),
        ("since=1d", f"since is '1d'; {LEGAL}"),
        ("since=nan", f"since is 'nan'; {LEGAL}"),
        ("since=1e3", f"since is '1e3'; {LEGAL}"),
        ("since=1h%0a", f"since is '1h\\n'; {LEGAL}"),
        ("since=%D9%A3m", f"since is '\\u0663m'; {LEGAL}"),
        ("since=%FF", f"since is '\\ufffd'; {LEGAL}"),
        ("since=" + "9" * 5000, f"since is '{'9' * 40}...'; {LEGAL}"),
        ("since=1h&since=2h", "a parameter is given twice; give since and group once at most"),
        ("sinse=1h", "'sinse' is no parameter; there are since and group"),
        ("since", PARAMETERS),
        ("&".join(f"a{number}=1" for number in range(50)), PARAMETERS),
        ("group=../../etc", "group must be one of the ids under groups"),
        ("group=ABCDEF0123", "group must be one of the ids under groups"),
    ],
)
def test_a_query_that_is_not_legal_is_refused_with_what_is(serve, query: str, fault: str) -> None:
    daemon = serve()
    code, headers, body = daemon.get(f"/history?{query}")
    assert (code, headers["Content-Type"], body) == (400, "text/plain; charset=utf-8", f"{fault}\n")
    assert daemon.asked == []


def test_a_group_that_is_not_there_is_not_found(serve) -> None:
    code, _, body = serve().get("/history?group=0123456789")
    assert (code, body) == (404, "there is no such group; those that there are have an id\n")


def test_behind_a_path_the_page_works_with_and_without_it(serve) -> None:
    daemon = serve(base_path="/ops/scaler")
    paths = (
        "/ops/scaler/",
        "/ops/scaler/static/page.css",
        "/ops/scaler/history",
        "/ops/scaler/livez",
        "/",
        "/livez",
    )
    assert [daemon.get(path)[0] for path in paths] == [200] * 6
    code, headers, _ = daemon.get("/ops/scaler")
    assert (code, headers["Location"]) == (308, "scaler/")
    assert [daemon.get(path)[0] for path in ("/ops/scalers/", "/ops", "/ops/scaler/ops/scaler/")] == [404] * 3


def test_a_reader_gets_the_last_tick_at_once_and_each_new_one(serve) -> None:
    daemon = serve()
    daemon.streams.publish()
    with daemon.follow() as peer:
        first = read_until(peer, b'"n":1}\n\n')
        daemon.tick = {"at": 3.5, "n": 2}
        daemon.streams.publish()
        second = read_until(peer, b"\n\n")
    with daemon.follow() as again:
        after = read_until(again, b'"n":2}\n\n')

    assert b"\r\nContent-Type: text/event-stream; charset=utf-8\r\n" in first
    assert first.endswith(b'retry: 2000\n\nid: 1.5\nevent: tick\ndata: {"at":1.5,"n":1}\n\n')
    assert second == b'id: 3.5\nevent: tick\ndata: {"at":3.5,"n":2}\n\n'
    assert after.endswith(second)


def test_before_the_first_tick_a_reader_is_told_so(serve) -> None:
    daemon = serve(tick=None)
    with daemon.follow() as peer:
        assert read_until(peer, b"yet\n\n").endswith(b": no tick has ended yet\n\n")


def test_two_hundred_readers_are_more_than_there_may_be_and_cost_the_tick_nothing(serve) -> None:
    daemon = serve()
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.follow()) for _ in range(200)]
        heads = [read_until(peer, b"\r\n\r\n") for peer in peers]
        codes = [int(head.split()[1]) for head in heads]
        assert (codes.count(200), codes.count(503)) == (MAX_STREAMS, 200 - MAX_STREAMS)
        refused = next(head for head in heads if b" 503 " in head)
        assert b"Retry-After: 10\r\n" in refused

        begun = time.thread_time()
        for _ in range(100):
            daemon.streams.publish()
        assert time.thread_time() - begun < 1, "a tick counts up and wakes, no more"
        assert daemon.get("/livez")[0] == 200
    daemon.tick = {"at": 9.5}
    daemon.streams.publish()
    started(lambda: daemon.streams.publish() or daemon.streams.open == 0, what="the end of all streams")
    with daemon.follow() as peer:
        assert b" 200 " in read_until(peer, b"\r\n\r\n")


@pytest.mark.slow
def test_a_reader_that_reads_nothing_is_dropped_and_the_others_go_on(serve) -> None:
    daemon = serve(tick={"at": 1.5, "much": "x" * 30_000})
    with daemon.follow(buffer_bytes=4096), daemon.follow() as other:
        started(lambda: daemon.streams.open == 2, what="two streams")

        def dropped() -> bool:
            daemon.tick = {**(daemon.tick or {}), "at": time.time()}
            daemon.streams.publish()
            read_until(other, b"\n\n")
            return daemon.streams.open == 1

        started(dropped, what="the end of the stream that nobody reads")
    assert daemon.failures == []


def test_the_end_of_the_daemon_ends_every_stream(serve) -> None:
    daemon = serve()
    with daemon.follow() as peer:
        read_until(peer, b"\n\n")
        daemon.streams.close()
        while peer.recv(65_536):
            pass
    started(lambda: daemon.streams.open == 0, what="no stream")
