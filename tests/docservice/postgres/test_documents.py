"""Documents are found by the files that they refer to, however many there are."""

from __future__ import annotations

import asyncio

import pytest

from docservice.postgres.database import Database
from docservice.postgres.documents import IDS_OF_BLOBS, KNOWN_BLOBS
from tests.docservice.conftest import pool_settings


@pytest.mark.parametrize("statement", [IDS_OF_BLOBS, KNOWN_BLOBS], ids=["their ids", "those known"])
def test_documents_are_found_by_their_files_with_the_index(database_url: str, statement: str) -> None:
    async def plan() -> str:
        database = Database(pool_settings(database_url, size=1))
        await database.open()
        try:
            await database.fetch(
                "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
                " sha256, blob_key)"
                " select 'mail', 'email', 't', 'f', 'c', 1, 's', '2026/01/01/' || i"
                " from generate_series(1, 20000) i"
            )
            await database.fetch("analyze documents")
            async with database.connection() as connection:
                # Planned without the values, as the pool's connections do; a sweep asks for 1,000 at once.
                await connection.execute("set plan_cache_mode = force_generic_plan")
                await connection.execute(f"prepare asked (text[]) as {statement}")
                keys = ",".join(f"2026/01/01/{number}" for number in range(1, 1001))
                rows = await connection.fetch(f"explain execute asked ('{{{keys}}}')")
            return "\n".join(row[0] for row in rows)
        finally:
            await database.close()

    text = asyncio.run(plan())
    assert "documents_blob_key" in text, text
    assert "Seq Scan on documents" not in text, text
