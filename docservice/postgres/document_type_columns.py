"""The SQL of the columns that a module shows for a type of document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from docservice.postgres.database import Database

_FIELDS = "id, module, document_type, column_name as column, label, position, created_at"
MAX_ROWS = 10_000


class ColumnExistsError(ValueError):
    """The module shows this column for this type of document already."""


class DocumentTypeColumns:
    """Columns by module and document type. Every method raises StoreUnavailableError as Database does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, *, module: str | None, document_type: str | None, modules: list[str] | None
    ) -> list[dict[str, Any]]:
        """The columns of a module, a type, or both; limited to ``modules`` unless that is None."""
        rows = await self._database.fetch(
            f"select {_FIELDS} from document_type_columns"
            " where ($1::text is null or module = $1) and ($2::text is null or document_type = $2)"
            " and ($3::text[] is null or module = any($3))"
            f" order by module, document_type, position, id limit {MAX_ROWS}",
            module,
            document_type,
            modules,
        )
        return [dict(row) for row in rows]

    async def get(self, column_id: int) -> dict[str, Any] | None:
        """One of them, or None."""
        row = await self._database.fetch_row(
            f"select {_FIELDS} from document_type_columns where id = $1", column_id
        )
        return None if row is None else dict(row)

    async def add(
        self, *, module: str, document_type: str, column: str, label: str, position: int
    ) -> dict[str, Any]:
        """Store one.

        Raises:
            ColumnExistsError: when it is there already.
        """
        try:
            row = await self._database.fetch_row(
                "insert into document_type_columns (module, document_type, column_name, label, position)"
                f" values ($1, $2, $3, $4, $5) returning {_FIELDS}",
                module,
                document_type,
                column,
                label,
                position,
            )
        except asyncpg.UniqueViolationError as fault:
            raise ColumnExistsError(
                f"module {module} shows the column {column} for {document_type} already"
            ) from fault
        return dict(row)

    async def remove(self, column_id: int) -> bool:
        """Remove one; False when there is none."""
        row = await self._database.fetch_row(
            "delete from document_type_columns where id = $1 returning id", column_id
        )
        return row is not None

    async def document_types(self, column: str, *, modules: list[str] | None) -> list[dict[str, Any]]:
        """The types of documents that a column is shown for, by module."""
        rows = await self._database.fetch(
            "select module, document_type, label, position from document_type_columns"
            " where column_name = $1 and ($2::text[] is null or module = any($2))"
            f" order by module, document_type limit {MAX_ROWS}",
            column,
            modules,
        )
        return [dict(row) for row in rows]
