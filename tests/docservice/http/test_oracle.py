"""Drawn questions of every form, asked of three processes, are answered as plain Python answers them.

Two of the processes share the cache and one has none; between the questions documents are uploaded.

    uv run python -m tests.docservice.http.test_oracle --questions 10000

asks so many and prints how many were answered wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from autoscaler.demo.embedded import PostgresServer, RedisServer
from docservice.domain.identity import Role
from docservice.postgres.database import Database
from docservice.postgres.migrations import migrate
from tests.docservice.conftest import Live, Servers, fresh_database, pool_settings, run_api
from tests.docservice.http.grid_questions import NUMBERS, START, TEXTS, WORDS, Question, draw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MODULE = "oracle"
ROWS = 60
_COLUMNS = (
    *("id", "document_type", "mail_number", "title", "sender", "file_name", "content_type", "size_bytes"),
    *("state", "failure", "pages", "parent_id", "received_at", "processed_at"),
    *("sent_at", "to_addresses", "cc_addresses", "message_id"),
)


def stored_row(random: Random) -> dict[str, Any]:
    def text(*blank: str | None) -> str | None:
        return random.choice((*blank, "".join(random.choices(TEXTS, k=random.randint(1, 3)))))

    return {
        "module": random.choice((MODULE, MODULE, MODULE, "other")),
        "document_type": random.choice(("email", "pdf")),
        "mail_number": random.choice((None, "".join(random.choices(NUMBERS, k=2)).upper())),
        "title": text(""),
        "sender": text(None, ""),
        "file_name": text(),
        "content_type": random.choice(("text/plain", "message/rfc822")),
        "size_bytes": random.choice((0, 1, 2, 12, 100)),
        "state": random.choice(("received", "processed", "failed")),
        "failure": text(None, None),
        "pages": random.choice((None, 0, 1, 2, 3)),
        "received_at": START
        + timedelta(minutes=30 * random.randint(0, 150), seconds=random.choice((0, 1, 59))),
        "processed_at": random.choice((None, START + timedelta(hours=random.randint(0, 72)))),
        "sent_at": random.choice((None, START + timedelta(hours=random.randint(-24, 72)))),
        "to_addresses": text(None, ""),
        "cc_addresses": text(None, None),
        "message_id": text(None),
        "sha256": "0" * 64,
        "blob_key": "k",
    }


@dataclass
class Grid:
    """The rows as the database has them, and the processes that answer."""

    url: str
    clients: list[httpx.Client]
    random: Random
    rows: list[dict[str, Any]]

    def read(self) -> None:
        async def rows() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.url)
            try:
                found = await connection.fetch(
                    f"select {', '.join(_COLUMNS)}, content from documents"
                    " left join document_texts on document_id = id where module = $1",
                    MODULE,
                )
                return [dict(row) for row in found]
            finally:
                await connection.close()

        self.rows = asyncio.run(rows())

    def write(self) -> None:
        """Upload a document through one of the processes."""
        name = "".join(self.random.choices([text for text in TEXTS if text not in "\\'"], k=2)) + "x"
        answer = self.random.choice(self.clients).post(
            f"/modules/{MODULE}/documents",
            files=[("file", (name, b"text", "text/plain"))],
            data={"mail_number": self.random.choice(NUMBERS)},
        )
        assert answer.status_code == 202, answer.text
        self.read()

    def ask(self, question: Question, client: httpx.Client) -> tuple[list[int], int]:
        path = f"/modules/{MODULE}/grid"
        if question.method == "GET":
            answer = client.get(path, params=list(question.parameters))
        else:
            answer = client.post(path, json=question.body)
        assert answer.status_code == 200, (question, answer.text)
        data = answer.json()["data"]
        assert data["total_capped"] is False
        return [row["id"] for row in data["rows"]], data["total"]

    def walk(self, question: Question) -> list[int]:
        """The ids of all pages behind each other, by cursor; each page of another process."""
        seen: list[int] = []
        cursor: str | None = None
        page = [(name, raw) for name, raw in question.parameters if name != "offset"]
        while True:
            client = self.random.choice(self.clients)
            asked = [*page, *([("cursor", cursor)] if cursor else [])]
            data = client.get(f"/modules/{MODULE}/grid", params=asked).json()["data"]
            seen += [row["id"] for row in data["rows"]]
            cursor = data["next_cursor"]
            if cursor is None:
                return seen


def wrong_answers(grid: Grid, questions: int) -> list[str]:
    """Ask so many questions and return those that were answered wrong, with the answers.

    Each question that has an AND or an OR is asked with them exchanged as well, before or after it and of any
    process; some are asked again later.
    """
    wrong: list[str] = []
    recent: list[int] = []
    asked = 0
    while asked < questions:
        again = bool(recent) and grid.random.random() < 0.3
        seed = grid.random.choice(recent) if again else grid.random.getrandbits(64)
        recent = [*recent[-19:], seed]
        forms = [draw(seed), draw(seed, flipped=True)]
        forms = forms[:1] if forms[0].body == forms[1].body else grid.random.sample(forms, 2)
        for question in forms:
            if asked % 25 == 0:
                grid.write()
            asked += 1
            answered = grid.ask(question, grid.random.choice(grid.clients))
            expected = question.answer(grid.rows)
            if answered != expected:
                wrong.append(f"{question}\n  answered {answered}\n  expected {expected}")
            if question.method == "GET" and asked % 20 == 0:
                whole = Question(**{**vars(question), "offset": 0, "limit": len(grid.rows) + 1})
                if (walked := grid.walk(question)) != whole.answer(grid.rows)[0]:
                    wrong.append(f"{question}\n  walked {walked}")
    return wrong


@contextmanager
def open_grid(servers: Servers, folder: Path, *, seed: int) -> Iterator[Grid]:
    random = Random(seed)
    with fresh_database(servers) as url, ExitStack() as stack:
        rows = [stored_row(random) for _ in range(ROWS)]

        async def fill() -> None:
            connection = await asyncpg.connect(url)
            await connection.copy_records_to_table(
                "documents", records=[tuple(row.values()) for row in rows], columns=list(rows[0])
            )
            await connection.execute("update documents set parent_id = id - 1, part = 1 where id % 7 = 2")
            texts = [(n, " ".join(random.choices(WORDS, k=random.randint(0, 6)))) for n in range(1, ROWS, 2)]
            await connection.executemany("insert into document_texts values ($1, $2)", texts)
            await connection.close()

        asyncio.run(fill())
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": servers.redis.url.removesuffix("/0") + "/15",
            "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
        }
        clients = []
        for place, seconds in enumerate(("60", "60", "0")):
            (folder / str(place)).mkdir()
            settings = {**environment, "DOCSERVICE_CACHE_SECONDS": seconds}
            live: Live = stack.enter_context(run_api(folder / str(place), settings))
            clients.append(stack.enter_context(live.client(Role.OPERATOR.value)))
        grid = Grid(url, clients, random, [])
        grid.read()
        yield grid


@pytest.mark.slow
def test_drawn_questions_are_answered_as_plain_python_answers_them(servers: Any, tmp_path: Path) -> None:
    questions = int(os.environ.get("GRID_QUESTIONS", "300"))
    with open_grid(servers, tmp_path, seed=int(os.environ.get("GRID_SEED", "1"))) as grid:
        assert wrong_answers(grid, questions) == []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with (
            PostgresServer(folder / "postgres", options=("synchronous_commit=off",)) as postgres,
            RedisServer(folder / "redis") as redis,
        ):
            servers = Servers(folder=folder, postgres=postgres, redis=redis, counter=itertools.count(1))
            asyncio.run(make_template(servers))
            with open_grid(servers, folder, seed=given.seed) as grid:
                wrong = wrong_answers(grid, given.questions)
    print(*wrong[:20], sep="\n")
    print(f"{given.questions} questions, {len(wrong)} wrong")
    raise SystemExit(bool(wrong))


async def make_template(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.postgres.url)
    await connection.execute("create database template_documents")
    await connection.close()
    database = Database(pool_settings(servers.postgres.url.rsplit("/", 1)[0] + "/template_documents"))
    await database.open()
    await migrate(database)
    await database.close()


if __name__ == "__main__":
    main()
