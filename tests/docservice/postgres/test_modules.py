"""A token for a module that has no document is created, and the slip is said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from click.testing import CliRunner

from docservice.cli.main import main
from docservice.postgres.database import Database
from docservice.postgres.modules import unused_modules
from tests.docservice.conftest import pool_settings

if TYPE_CHECKING:
    from collections.abc import Collection


def unused(url: str, named: Collection[str], *statements: str) -> list[str]:
    async def ask() -> list[str]:
        database = Database(pool_settings(url, size=1))
        await database.open()
        try:
            for statement in statements:
                await database.fetch(statement)
            return await unused_modules(database, named)
        finally:
            await database.close()

    return asyncio.run(ask())


def test_a_module_without_documents_is_named_with_those_that_have_some(database_url: str) -> None:
    assert unused(database_url, ["mail"]) == ["module mail has no document yet; modules that have some: none"]
    columns = "module, document_type, title, file_name, content_type, size_bytes, sha256, blob_key"
    values = ", ".join(
        f"('{module}', 'email', 't', 'f', 'message/rfc822', 1, 'h', 'k')"
        for module in ("mail", "invoices", "mail", "invoices")
    )
    added = f"insert into documents ({columns}) values {values}"
    assert unused(database_url, ["mial", "mail"], added) == [
        "module mial has no document yet; did you mean mail? modules that have some: invoices, mail"
    ]
    assert unused(database_url, []) == []


def test_a_token_for_a_mistyped_module_is_created_with_a_note(database_url: str, redis_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    words = ["token", "create", "--name", "ann", "--module", "mial"]
    done = CliRunner(env=environment).invoke(main, words)
    note, _ = done.stderr.splitlines()
    assert (done.exit_code, done.stdout[:3], note) == (
        0,
        "ds_",
        "docservice: module mial has no document yet; modules that have some: none",
    )
