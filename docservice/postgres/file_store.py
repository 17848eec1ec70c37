"""The SQL of the store of files' identity: what the store is called, and whether it was ever marked so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """The identity of the store that belongs to a database; ``marked`` once a store has it."""

    text: str
    marked: bool


class FileStore:
    """That row of Postgres. Every method raises StoreUnavailableError when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identity(self) -> StoreIdentity:
        """The identity of the store."""
        row = await self._database.fetch_row("select identity, marked_at from file_store")
        return StoreIdentity(text=str(row["identity"]), marked=row["marked_at"] is not None)

    async def renew(self) -> None:
        """Draw another identity, which no store has."""
        await self._database.fetch("update file_store set identity = gen_random_uuid(), marked_at = null")

    async def set_marked(self) -> None:
        """Note that a store has the identity."""
        await self._database.fetch("update file_store set marked_at = now() where marked_at is null")

    async def newest_keys(self, limit: int) -> list[str]:
        """The keys of the files that were stored last."""
        rows = await self._database.fetch("select blob_key from documents order by id desc limit $1", limit)
        return [row["blob_key"] for row in rows]
