"""Pages below ASGI: the same answers as the ordinary way, and the ordinary way for all that is not one."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import asyncpg
import httpx
import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from docservice.config import read_settings
from docservice.domain.identity import new_token
from docservice.fast_path import FastPathProtocol
from docservice.http.app import DocumentService, create_app
from docservice.log import AccessLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from docservice.domain.grid import GridQuery

TOKEN = new_token()
HEADERS = f"Host: here\r\nAuthorization: Bearer {TOKEN}\r\n"


def get(number: object, *, headers: str = HEADERS, version: str = "1.1") -> bytes:
    return f"GET /modules/mail/grid?mail_number={number} HTTP/{version}\r\n{headers}\r\n".encode()


class Noted(DocumentService):
    """The service, without its servers: it notes what comes the ordinary way, and pages wait for a gate."""

    def begin(self, lines: list[bytes]) -> None:
        self.ordinary: list[str] = []
        self.pages: list[str] = []
        self.lines = lines
        self.gate = asyncio.Event()
        self.gate.set()
        self.grids.page = self._page  # type: ignore[method-assign]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ordinary.append(scope["path"])
        await super().__call__(scope, receive, send)

    async def _page(self, _sha256: bytes, query: GridQuery) -> tuple[bytes, bytes]:
        number = query.filters[0].conditions[0].text if query.filters else "none"
        self.pages.append(number)
        await self.gate.wait()
        if number == "FAULT":
            raise RuntimeError("a fault of the test")
        return b'{"rows":["%b"]},"meta":{"request_id":"' % number.encode(), b"none"


class Counting(FastPathProtocol):
    """Counts what came, so that a test can wait for it."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.bytes += len(data)


@dataclass
class Bench:
    """A server in this process, and one connection to it."""

    app: Noted
    protocol: Counting
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lines_taken: Lines
    faults: list[Any] = field(default_factory=list)
    sent: int = 0

    async def send(self, data: bytes) -> None:
        """Send some bytes, and wait until the server has them: what follows comes in a piece of its own."""
        self.writer.write(data)
        self.sent += len(data)
        while self.protocol.bytes < self.sent:  # noqa: ASYNC110 - it is the other end that we wait for
            await asyncio.sleep(0.001)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: its status, headers and body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.strip().split("\r\n")
        headers = dict(item.split(": ", 1) for item in lines)
        return int(line.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(data)
        return await self.answer()

    def lines(self) -> list[bytes]:
        """What the access log says of each path and status, until now."""
        self.app.services.requests.flush()
        return [found[0] for found in re.finditer(rb'"path":"[^"]*","status":\d+', b"".join(self.app.lines))]

    async def until(self, true: Callable[[], object]) -> None:
        while not true():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


@asynccontextmanager
async def bench(**settings: Any) -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    faults: list[Any] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    lines = Lines()
    made = create_app(read_settings(ENVIRONMENT), access_log=AccessLog(lines))
    app = Noted(read_settings(ENVIRONMENT), made.services, made.framework)
    app.begin(lines.seen)
    config = Config(
        app,  # type: ignore[arg-type]
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        timeout_keep_alive=3600,
        **settings,
    )
    config.load()
    state = ServerState()
    protocols: list[Counting] = []

    def protocol() -> Counting:
        protocols.append(Counting(config=config, server_state=state, app_state={}))
        return protocols[-1]

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    while not protocols:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    try:
        yield Bench(app, protocols[0], reader, writer, lines, faults)
    finally:
        app.gate.set()
        writer.close()
        server.close()
        await server.wait_closed()
        while state.tasks or state.connections:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


class Lines:
    """Where the access log goes."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.fault: OSError | None = None

    def write(self, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.seen += data.splitlines()

    def flush(self) -> None:
        pass


ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DOCSERVICE_BLOB_URL": "file:///nowhere",
}


def run(steps: Callable[[Bench], Awaitable[None]], **settings: Any) -> None:
    async def walk() -> list[Any]:
        async with asyncio.timeout(30), bench(**settings) as made:
            await steps(made)
        return made.faults

    assert uvloop.run(walk()) == []


def test_only_the_first_of_equal_headers_goes_the_ordinary_way() -> None:
    async def steps(made: Bench) -> None:
        answers = [await made.ask(get(f"MN-{place}")) for place in range(4)]
        assert len(made.app.ordinary) == 1
        for place, (status, headers, body) in enumerate(answers):
            assert status == 200
            assert b'"rows":["MN-%d"]' % place in body
            assert headers["x-request-id"].encode() in body
        assert [sorted(headers) for _, headers, _ in answers] == [sorted(answers[0][1])] * 4
        assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4
        await made.until(lambda: made.lines() == [b'"path":"/modules/mail/grid","status":200'] * 4)

    run(steps)


def test_other_headers_are_read_and_then_known_too() -> None:
    async def steps(made: Bench) -> None:
        mine = HEADERS + "X-Request-ID: mine\r\n"
        for headers in (HEADERS, HEADERS, mine, mine, mine, HEADERS):
            _, answered, _ = await made.ask(get("A", headers=headers))
            assert (answered["x-request-id"] == "mine") == (headers == mine)
        assert len(made.app.ordinary) == 3  # the first of each run of equal ones

    run(steps)


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("A", headers=HEADERS + "Content-Length: 0\r\n"),
        get("A", headers=HEADERS + "Expect: nothing\r\n"),
        get("A", headers=HEADERS + "Upgrade: h2c\r\n"),
        get("A", headers=HEADERS + "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n"),
        get("A", headers="Host: here\r\n"),
        get("A", headers="Host: here\r\nAuthorization: Basic x\r\n"),
        get("A", headers=HEADERS + f"X-Long: {'x' * 10_000}\r\n"),
        get("A").replace(b"GET", b"HEAD"),
        get("A").replace(b"/mail/", b"/m%61il/"),
        get("A").replace(b"/grid", b"/columns"),
        b"\r\n" + get("A"),
        get("A").replace(b"GET", b"POST"),
    ],
)
def test_what_is_no_plain_page_goes_the_ordinary_way_each_time(request_bytes: bytes) -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        for count in (2, 3):
            if request_bytes.startswith(b"HEAD"):
                await made.send(request_bytes)
                await made.reader.readuntil(b"\r\n\r\n")
            else:
                await made.ask(request_bytes)
            assert len(made.app.ordinary) == count

    run(steps)


@pytest.mark.parametrize(
    "last", [get("B", headers=HEADERS + "Connection: close\r\n"), get("B", version="1.0")]
)
def test_a_connection_that_the_client_ends_is_ended(last: bytes) -> None:
    async def steps(made: Bench) -> None:
        for _ in range(2):
            await made.ask(get("A"))
        await made.ask(last)
        assert await made.reader.read() == b""
        assert made.app.pages == ["A", "A", "B"]

    run(steps)


def test_a_request_in_pieces_is_one_wherever_it_is_cut() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        data = get("B")
        places = [*range(1, 70), data.index(b"\r\n") + 1, data.index(b"\r\n") + 2, len(data) - 2]
        for place in places:
            await made.ask(get("A"))  # so that the headers are known again
            await made.send(data[:place])
            status, _, body = await made.ask(data[place:])
            assert status == 200, place
            assert b'["B"]' in body
        assert made.app.pages == ["A"] + ["A", "B"] * len(places)

    run(steps)


def test_answers_come_in_the_order_of_the_requests() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("FIRST"))
        made.app.gate.clear()
        names = [f"N{place}" for place in range(8)]
        await made.send(get(names[0]))
        await made.until(lambda: made.app.pages == ["FIRST", "N0"])
        await made.send(get(names[1]))
        made.writer.write(
            b"".join(get(name) for name in names[2:])
        )  # reading is paused: they may have to wait
        made.app.gate.set()
        for name in names:
            assert f'["{name}"]'.encode() in (await made.answer())[2]
        assert made.app.pages == ["FIRST", *names]

    run(steps)


def test_a_body_that_looks_like_a_request_is_a_body() -> None:
    async def steps(made: Bench) -> None:
        for _ in range(2):
            await made.ask(get("A"))
        hidden = get("HIDDEN")
        head = f"POST /modules/mail/grid HTTP/1.1\r\n{HEADERS}Content-Type: application/json\r\n"
        await made.send(f"{head}Content-Length: {len(hidden)}\r\n\r\n".encode())
        status, _, body = await made.ask(hidden)
        assert status == 422, body
        await made.send(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(hidden):x}\r\n".encode())
        await made.send(hidden)
        status, _, body = await made.ask(b"\r\n0\r\n\r\n")
        assert status == 422, body
        status, _, body = await made.ask(get("B"))
        assert b'["B"]' in body
        assert made.app.pages == ["A", "A", "B"]

    run(steps)


def test_headers_that_begin_within_a_body_are_not_remembered() -> None:
    async def steps(made: Bench) -> None:
        tail = b"GET /modules/mail/grid?mail_number=X HTTP/1.1\r\nX-Tail: "
        head = f"POST /modules/mail/grid HTTP/1.1\r\n{HEADERS}Content-Type: text/plain\r\n"
        await made.send(f"{head}Content-Length: {len(tail)}\r\n\r\n".encode())
        await made.send(tail + get("A"))  # the end of the body and a request, in one piece
        assert [(await made.answer())[0] for _ in range(2)] == [415, 200]
        status, _, body = await made.ask(tail + get("A"))  # the same bytes, and now they are a request
        assert (status, b'["X"]' in body) == (200, True)
        assert made.app.pages == ["A", "X"]
        assert len(made.app.ordinary) == 3

    run(steps)


def test_a_fault_is_told_and_the_connection_stays() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        status, headers, body = await made.ask(get("FAULT"))
        assert status == 500
        assert headers["x-request-id"].encode() in body
        assert b"a fault of the test" not in body
        status, _, body = await made.ask(get("x" * 300))
        assert status == 422, body
        assert (await made.ask(get("B")))[0] == 200
        assert len(made.app.ordinary) == 1

    run(steps)


@pytest.mark.parametrize("behind", [(), (get("C"),)])
def test_a_client_that_leaves_within_a_page_hurts_nobody(behind: tuple[bytes, ...]) -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        made.app.gate.clear()
        await made.send(get("B"))
        await made.until(lambda: made.app.pages == ["A", "B"])
        for data in behind:
            await made.send(data)
        made.writer.transport.abort()
        if not behind:  # else nothing is read until the page ends
            await made.until(lambda: made.protocol not in made.protocol.connections)
        made.app.gate.set()
        await made.until(lambda: not made.protocol.tasks and made.protocol not in made.protocol.connections)

    run(steps)


def test_a_shutdown_waits_for_the_page_under_way() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        made.app.gate.clear()
        await made.send(get("B"))
        await made.until(lambda: made.app.pages == ["A", "B"])
        made.protocol.shutdown()
        assert made.protocol.tasks  # what a server that ends waits for
        made.app.gate.set()
        status, headers, body = await made.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert b'["B"]' in body
        assert await made.reader.read() == b""

    run(steps)


def test_a_shutdown_ends_a_connection_at_rest() -> None:
    async def steps(made: Bench) -> None:
        for _ in range(2):
            await made.ask(get("A"))
        made.protocol.shutdown()
        assert await made.reader.read() == b""

    run(steps)


def test_a_page_that_is_broken_off_ends_its_connection() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        made.app.gate.clear()
        await made.send(get("B"))
        await made.until(lambda: made.app.pages == ["A", "B"])
        for task in set(made.protocol.tasks):
            task.cancel()
        assert await made.reader.read() == b""
        await made.until(lambda: made.lines()[1:] == [b'"path":"/modules/mail/grid","status":0'])

    run(steps)


@pytest.mark.parametrize("setting", [{"root_path": "/api"}, {"limit_concurrency": 100}])
def test_settings_that_it_does_not_know_leave_all_to_the_ordinary_way(setting: dict[str, Any]) -> None:
    async def steps(made: Bench) -> None:
        for count in (1, 2, 3):
            await made.ask(get("A"))
            assert len(made.app.ordinary) == count

    run(steps, **setting)


def test_an_access_log_that_cannot_be_written_stops_nothing() -> None:
    async def steps(made: Bench) -> None:
        made.lines_taken.fault = BrokenPipeError()
        for _ in range(600):  # more than wait at most
            assert (await made.ask(get("A")))[0] == 200
        made.app.services.requests.flush()
        assert b'method="GET",route="/modules/{module}/grid",status="200"} 600.0' in (
            made.app.services.metrics.text()
        )
        made.lines_taken.fault = None
        await made.ask(get("A"))
        assert made.lines() == [b'"path":"/modules/mail/grid","status":200']

    run(steps)


def test_pages_keep_a_connection_alive() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        made.app.gate.clear()
        await made.send(get("B"))
        await made.until(lambda: made.app.pages == ["A", "B"])
        for seconds in (0, 3600):
            made.protocol.timeout_keep_alive = seconds
            made.protocol.timeout_keep_alive_handler()  # the timer of the first answer, within the second
        made.app.gate.set()
        assert (await made.answer())[0] == 200
        made.protocol.timeout_keep_alive_handler()  # and soon after it
        assert (await made.ask(get("C")))[0] == 200
        made.protocol.timeout_keep_alive = 0
        made.protocol.timeout_keep_alive_handler()
        assert await made.reader.read() == b""


def test_the_timer_runs_behind_a_page_too() -> None:
    async def steps(made: Bench) -> None:
        await made.ask(get("A"))
        made.app.gate.clear()
        await made.send(get("B"))
        made.protocol.timeout_keep_alive_handler()
        made.protocol.timeout_keep_alive = 0
        made.app.gate.set()
        assert (await made.answer())[0] == 200
        assert await made.reader.read() == b""

    run(steps)


# On real servers


class Connection:
    """One connection to an API, asked byte by byte."""

    def __init__(self, live: Any, token: str) -> None:
        host, port = live.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._file = self._socket.makefile("rb")
        self._headers = f"Host: here\r\nAuthorization: Bearer {token}\r\n\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, target: str) -> None:
        self._socket.sendall(f"GET {target} HTTP/1.1\r\n{self._headers}".encode())

    def answer(self) -> tuple[bytes, dict[bytes, bytes], bytes]:
        line = self._file.readline()
        headers = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.partition(b": ")
            headers[name] = value
        return line, headers, self._file.read(int(headers[b"content-length"]))

    def ask(self, target: str) -> tuple[bytes, dict[bytes, bytes], bytes]:
        self.send(target)
        return self.answer()

    def rest(self) -> bytes:
        return self._file.read()


TARGETS = (
    "/modules/mail/grid",
    "/modules/mail/grid?",
    "/modules/MAIL/grid?limit=7&sort=-title,id",
    "/modules/mail/grid?mail_number=mn-1",
    "/modules/mail/grid?mail_number=%4d%4E-1&&mail_number=b",
    "/modules/mail/grid?mail_number.prefix=MN+1",
    "/modules/mail/grid?mail_number.contains=ab",
    "/modules/mail/grid?mail_number=%ff",
    "/modules/mail/grid?mail_number=%00",
    "/modules/mail/grid?title.blank=true&title.blank=maybe",
    "/modules/mail/grid?limit=0",
    "/modules/mail/grid?nothing=1",
    "/modules/mail/grid?=&a=b=c",
    "/modules/-mail/grid",
    "/modules/" + "m" * 64 + "/grid",
    "/modules/secret/grid",
    "/modules/mail/grid?cursor=none",
    *(f"/modules/mail/grid?title={chr(code)}" for code in (0x21, *range(0x24, 0x7F))),
)
# The parser's, and so is the next request after each.
OTHER_TARGETS = ('/modules/mail/grid?title="', "/modules/mail/grid#title", "/modules/m%61il/grid")


def same(answer: tuple[bytes, dict[bytes, bytes], bytes]) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """An answer without what every request has of its own, or the cache."""
    line, headers, body = answer
    identifier = headers[b"x-request-id"]
    kept = {
        name: value for name, value in headers.items() if name not in (b"date", b"x-request-id", b"x-cache")
    }
    return line, kept, body.replace(identifier, b"ID")


def test_both_ways_answer_alike(live: Any) -> None:
    _, token = live.add_token(name="some", modules=frozenset({"mail"}))
    for known in (token, new_token()):
        with Connection(live, known) as kept:
            kept.ask("/modules/mail/grid")
            for target in (*TARGETS, *OTHER_TARGETS):
                with Connection(live, known) as fresh:
                    ordinary, other = fresh.ask(target), kept.ask(target)
                assert same(ordinary) == same(other), target
                # What tells them apart: uvicorn begins with the date.
                assert next(iter(ordinary[1])) == b"date"
                assert (next(reversed(other[1])) == b"date") == (target in TARGETS), target


def test_a_token_that_is_revoked_ends_on_a_connection_that_is_kept(live: Any) -> None:
    number, token = live.add_token(name="brief")
    with Connection(live, token) as kept:
        for _ in range(3):
            assert kept.ask("/modules/mail/grid")[0] == b"HTTP/1.1 200 OK\r\n"
        live.revoke(number)
        assert kept.ask("/modules/mail/grid")[0] == b"HTTP/1.1 401 Unauthorized\r\n"


def test_an_api_that_ends_answers_the_page_under_way(live: Any, api_runner: Any, tmp_path: Path) -> None:
    asked = "/modules/mail/grid?mail_number=MN-1"
    locked, ends = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(live.database_url)
        async with connection.transaction():
            await connection.execute("lock table documents in access exclusive mode")
            locked.set()
            await asyncio.to_thread(ends.wait, 60)
        await connection.close()

    with api_runner(tmp_path, live.environment) as own, Connection(own, own.tokens["viewer"]) as kept:
        for _ in range(2):
            assert kept.ask(asked)[0] == b"HTTP/1.1 200 OK\r\n"
        holder = threading.Thread(target=lambda: asyncio.run(hold()))
        holder.start()
        try:
            assert locked.wait(30)
            kept.send(asked)
            own.process.wait_until(
                lambda: waits(live.database_url), within_seconds=30, what="the page to wait"
            )
            own.process.send(signal.SIGTERM)
            own.process.wait_until(lambda: refuses(own.url), within_seconds=30, what="the end to begin")
        finally:
            ends.set()
            holder.join()
        line, headers, body = kept.answer()
        assert line == b"HTTP/1.1 200 OK\r\n"
        assert headers[b"connection"] == b"close"
        assert re.search(rb'"rows":\[', body)
        assert kept.rest() == b""


def waits(database_url: str) -> bool:
    async def count() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            found: int = await connection.fetchval(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and wait_event_type = 'Lock' and query like '%documents%'"
            )
            return found
        finally:
            await connection.close()

    return asyncio.run(count()) > 0


def refuses(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez", timeout=2)
    except httpx.HTTPError:
        return True
    return False
