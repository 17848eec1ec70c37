"""Migrations run once, in order, as long as they take, and one process at a time."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from docservice.postgres.database import Database, PoolSettings
from docservice.postgres.migrations import migrate, migrations, pending
from tests.docservice.conftest import pool_settings

NAMES = [step.name for step in migrations()]


async def _empty_database(servers: Any, name: str) -> str:
    connection = await asyncpg.connect(servers.postgres.url)
    try:
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()


@pytest.mark.slow
def test_of_several_that_start_together_one_migrates_and_the_others_wait_beyond_their_timeout(
    servers: Any, capsys: Any
) -> None:
    async def run() -> tuple[list[list[str]], list[str]]:
        url = await _empty_database(servers, "migrated_together")
        settings = PoolSettings(url=url, size=2, statement_timeout_seconds=0.1, connect_timeout_seconds=20)
        databases = [Database(settings) for _ in range(3)]
        blocker = await asyncpg.connect(url)
        await blocker.execute("select pg_advisory_lock(7021094418)")
        for database in databases:
            await database.open()
        running = [asyncio.create_task(migrate(database)) for database in databases]
        # Longer than any timeout of the pools for one command, which is 5.1 s here.
        _, waiting = await asyncio.wait(running, timeout=6)
        assert len(waiting) == 3
        await blocker.close()
        applied = await asyncio.gather(*running)
        patient = Database(pool_settings(url))  # a busy machine may take longer than 0.1 s for a statement
        await patient.open()
        left = await pending(patient)
        for database in (*databases, patient):
            await database.close()
        return applied, left

    applied, left = asyncio.run(run())
    assert (sorted(applied, key=len), left) == ([[], [], NAMES], [])
    assert "migrations.waiting" in capsys.readouterr().out


def test_letters_are_folded_one_by_one(servers: Any, database_url: str) -> None:
    async def run() -> list[str]:
        connection = await asyncpg.connect(database_url)
        try:
            texts = ("ÀÉÎ", "ΟΔΟΣ", "οδος", "Ж", "straße", "訂單")
            return [await connection.fetchval("select docservice_fold($1)", text) for text in texts]
        finally:
            await connection.close()

    assert servers
    assert asyncio.run(run()) == ["àéî", "οδοσ", "οδοσ", "ж", "straße", "訂單"]


def test_texts_that_were_stored_before_can_be_searched_and_a_broken_index_is_built_again(
    servers: Any,
) -> None:
    async def run() -> tuple[list[str], list[int], list[tuple[str, bool]]]:
        url = await _empty_database(servers, "migrated_texts")
        database = Database(
            PoolSettings(url=url, size=2, statement_timeout_seconds=5, connect_timeout_seconds=20)
        )
        await database.open()
        await migrate(database)
        connection = await asyncpg.connect(url)
        # As a database is whose migration broke off, and whose texts are those of an earlier version.
        await connection.execute("delete from schema_migrations where number = 7")
        await connection.execute("drop index concurrently document_texts_words")
        await connection.execute(
            "update pg_index set indisvalid = false where indexrelid = 'document_texts_parts'::regclass"
        )
        await connection.execute("alter table document_texts disable trigger document_texts_words")
        await connection.execute(
            "insert into documents (module, document_type, title, file_name, content_type,"
            " size_bytes, sha256, blob_key) select 'mail', 'text', 't', 'f', 't', 1, 's', 'k'"
            " from generate_series(1, 1200)"
        )
        await connection.execute("insert into document_texts select id, 'Word ' || id from documents")
        applied = await migrate(database)
        found = await connection.fetch(
            "select document_id from document_texts where words @@ plainto_tsquery('word 777')"
        )
        indexes = await connection.fetch(
            "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where i.indrelid = 'document_texts'::regclass order by 1"
        )
        await connection.close()
        await database.close()
        return applied, [row[0] for row in found], [tuple(row) for row in indexes]

    assert asyncio.run(run()) == (
        ["0007_text_search"],
        [777],
        [("document_texts_parts", True), ("document_texts_pkey", True), ("document_texts_words", True)],
    )


def test_a_module_is_known_with_its_first_document(database_url: str) -> None:
    async def run() -> list[str]:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "insert into documents (module, document_type, title, file_name, content_type,"
            " size_bytes, sha256, blob_key) select m, 'text', 't', 'f', 't', 1, 's', 'k'"
            " from unnest(array['b', 'a', 'b']) m"
        )
        rows = await connection.fetch("select name from modules where name <> 'mail' order by name")
        await connection.close()
        return [row[0] for row in rows]

    assert asyncio.run(run()) == ["a", "b"]
