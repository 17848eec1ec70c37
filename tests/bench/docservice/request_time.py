"""Where the CPU time of a page goes in the API process: the parts of one request, each timed alone.

    uv run python tests/bench/docservice/request_time.py

Three pages: by exact mail number, by prefix, and a page from the cache. A real API process is measured under
16 connections (`wrk`), then the same application is called within this process, then its parts, one after
the other. Every figure is CPU time of one process in microseconds for one request, the least of several
rounds: other programs on the machine make it larger, never smaller. "Server" is uvicorn and the sockets,
"routing" what no other part explains.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import uvloop
from grids import QUESTIONS, WRK, Bench

from docservice.cli.main import application
from docservice.http.access_log import RequestLog
from docservice.http.auth import bearer
from docservice.http.routes import grids as routes
from docservice.log import AccessLog, Answered
from docservice.page_cache import page_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from docservice.domain.grid.query import GridQuery
    from docservice.postgres.grids import Page

REQUESTS = 4000
CONNECTIONS = 16
PAGES = {
    "exact": lambda number: b"mail_number=MN-%d-%06d" % (2010 + number % 16, number * 7919 % 1_000_000),
    "prefix": lambda number: b"mail_number.prefix=MN-%d-%02d" % (2010 + number % 16, 10 + number % 89),
    "cached": lambda _number: b"limit=50",
}


async def least(work: Callable[[int], Awaitable[object]], *, rounds: int) -> float:
    """Microseconds of CPU time for one call of ``work``, called from 16 tasks."""
    taken = []
    for _ in range(rounds):
        numbers = iter(range(REQUESTS))

        async def ask(numbers: Iterable[int] = numbers) -> None:
            for number in numbers:
                await work(number)

        begun = time.process_time()
        await asyncio.gather(*[ask() for _ in range(CONNECTIONS)])
        taken.append((time.process_time() - begun) / REQUESTS * 1e6)
    return min(taken)


class Parts:
    """One page of the application in this process, as a whole and in parts."""

    def __init__(self, app: Any, page: str, token: str, *, rounds: int) -> None:
        self.app = app
        self.services = app.services
        self.page = page
        self.rounds = rounds
        self.header = f"Bearer {token}".encode()
        self.written = PAGES[page]

    async def whole(self) -> float:
        """The application without its server."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message: Any) -> None:
            pass

        async def ask(number: int) -> None:
            headers = [
                (b"host", b"localhost"),
                (b"authorization", self.header),
                (b"x-request-id", b"r%d" % number),
            ]
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/modules/mail/grid",
                "query_string": self.written(number),
                "headers": headers,
                "client": ("127.0.0.1", 5000),
            }
            await self.app(scope, receive, send)

        return await least(ask, rounds=self.rounds)

    async def measure(self) -> dict[str, float]:
        """Microseconds by part."""
        sha256 = bearer(self.header)
        identity = await self.services.auth.identify(sha256)
        queries = [self._query(number) for number in range(REQUESTS)]
        taken = {"query parsed": await self._parse()}

        async def authenticate(_number: int) -> None:
            bearer(self.header)
            self.services.auth.remembered(sha256)

        taken["authentication"] = await least(authenticate, rounds=self.rounds)
        if self.page == "cached":
            query = queries[0]
            key = page_key(query.module, identity.scope, query.digest)

            async def read(_number: int) -> None:
                await self.services.cache.read(key, query.module)

            taken["cache"] = await least(read, rounds=self.rounds)
            taken["whole"] = await self.whole()
        else:

            async def load(number: int) -> None:
                await self.services.grids.page(queries[number], reader=identity.token_id)

            taken["SQL"] = await least(load, rounds=self.rounds)
            # Without a server between the requests, look-ups come together in other numbers than under it.
            self.services.grids = Known([await self.services.grids.page(query) for query in queries[:100]])
            taken["whole"] = await self.whole() + taken["SQL"]
        taken["serialisation"] = await self._serialise(queries[0], identity.token_id)
        taken |= await self._log()
        return taken

    def _query(self, number: int) -> GridQuery:
        query: GridQuery = self.app.grids.parameters("mail", self.written(number))
        return query

    async def _parse(self) -> float:
        remembered = self.app.grids._remembered

        async def parse(number: int) -> None:
            if self.page != "cached":
                remembered.clear()
            self._query(number)

        return await least(parse, rounds=self.rounds)

    async def _serialise(self, query: GridQuery, reader: int) -> float:
        page = await self.services.grids.page(query, reader=reader)
        body = routes._written(query, page)

        async def write(_number: int) -> None:
            if self.page != "cached":
                routes._written(query, page)
            b"".join(routes.page_parts(body, "r1"))

        return await least(write, rounds=self.rounds)

    async def _log(self) -> dict[str, float]:
        path = "/modules/mail/grid"
        one = Answered(time.time(), routes.PAGE_ROUTE, "GET", path, 200, "r1", "127.0.0.1", 0.001)
        taken = {}
        for name, access_log in (("metrics", Unwritten()), ("logging", AccessLog())):
            requests = RequestLog(self.services.metrics, access_log)

            async def add(_number: int, requests: RequestLog = requests) -> None:
                requests.add(one)

            taken[name] = await least(add, rounds=self.rounds)
        return taken | {"logging": taken["logging"] - taken["metrics"]}


class Known:
    """Grids that have read their pages already."""

    def __init__(self, pages: list[Page]) -> None:
        self._pages = itertools.cycle(pages)

    async def page(self, _query: GridQuery, *, reader: int | None = None) -> Page:  # noqa: ARG002 - as Grids
        """One of the pages."""
        return next(self._pages)


class Unwritten(AccessLog):
    """An access log that writes nothing."""

    def write(self, answered: Iterable[Answered]) -> None:
        """Drop the lines."""


def served(bench: Bench, page: str) -> float:
    """Microseconds of CPU time of a real API process for one request."""
    settings = {"DOCSERVICE_CACHE_SECONDS": "60" if page == "cached" else "0"}
    named = {question.name: question for question in QUESTIONS}
    query, drawn = (named[page].query, named[page].drawn) if page in named else ("?limit=%d", "50")
    with bench.api(**settings) as url:
        port = int(url.rsplit(":", 1)[1])
        [process] = [
            psutil.Process(connection.pid)
            for connection in psutil.net_connections("tcp")
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN"
        ]
        script = WRK.format(seed=1, token=bench.token, query=query, drawn=drawn)
        bench.wrk(url, script)
        taken = []
        for _ in range(3):
            begun = sum(process.cpu_times()[:2])
            rate = bench.wrk(url, script)
            taken.append((sum(process.cpu_times()[:2]) - begun) / (rate * bench.seconds) * 1e6)
    return min(taken)


async def parts(bench: Bench, page: str, rounds: int) -> dict[str, float]:
    os.environ |= {
        "DATABASE_URL": bench.postgres.url,
        "REDIS_URL": bench.redis.url,
        "DOCSERVICE_BLOB_URL": f"file://{bench.folder}/blobs",
        "DOCSERVICE_CACHE_SECONDS": "60" if page == "cached" else "0",
    }
    app = application()
    await app.services.open()
    try:
        return await Parts(app, page, bench.token, rounds=rounds).measure()
    finally:
        await app.services.close()


def show(page: str, taken: dict[str, float], whole: float) -> None:
    inside = taken.pop("whole")
    table = {"server": whole - inside, **taken, "routing": inside - sum(taken.values())}
    print(f"{page}: {whole:.0f} us", file=sys.stderr)
    for name, microseconds in table.items():
        print(f"  {name:<16}{microseconds:>6.1f} us{microseconds / whole * 100:>6.0f} %", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        folder = Path(name)
        folder.chmod(0o711)
        bench = Bench(folder, rows=given.rows, seconds=given.seconds)
        with bench.open(), redirect_stdout(nowhere):
            for page in PAGES:
                whole = served(bench, page)
                show(page, uvloop.run(parts(bench, page, given.rounds)), whole)


if __name__ == "__main__":
    main()
