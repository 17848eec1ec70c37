"""The SQL of tokens: added, listed, revoked, found by hash."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docservice.domain.identity import Identity, Role

if TYPE_CHECKING:
    from datetime import datetime

    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """What is shown of a token; the token itself is not stored."""

    id: int
    name: str
    role: Role
    modules: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Tokens:
    """Tokens in Postgres. Every method raises StoreUnavailableError when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, *, name: str, sha256: bytes, role: Role, modules: list[str] | None, expires_at: datetime | None
    ) -> int:
        """Store a token by its hash and return its id."""
        row = await self._database.fetch_row(
            "insert into tokens (name, sha256, role, modules, expires_at) values ($1, $2, $3, $4, $5)"
            " returning id",
            name,
            sha256,
            role.value,
            modules,
            expires_at,
        )
        return int(row["id"])

    async def all(self) -> list[TokenRow]:
        """All tokens, the latest first."""
        rows = await self._database.fetch(
            "select id, name, role, modules, created_at, expires_at, revoked_at from tokens order by id desc"
        )
        return [
            TokenRow(
                id=row["id"],
                name=row["name"],
                role=Role(row["role"]),
                modules=None if row["modules"] is None else tuple(row["modules"]),
                created_at=row["created_at"],
                expires_at=row["expires_at"],
                revoked_at=row["revoked_at"],
            )
            for row in rows
        ]

    async def revoke(self, token_id: int) -> bool:
        """Revoke a token; False when there is none, or it was revoked before."""
        row = await self._database.fetch_row(
            "update tokens set revoked_at = now() where id = $1 and revoked_at is null returning id", token_id
        )
        return row is not None

    async def find(self, sha256: bytes) -> Identity | None:
        """The identity of the token with this hash; None when it is unknown, revoked or expired."""
        row: Any = await self._database.fetch_row(
            "select id, name, sha256, role, modules, expires_at from tokens"
            " where sha256 = $1 and revoked_at is null and (expires_at is null or expires_at > now())",
            sha256,
        )
        if row is None or not hmac.compare_digest(row["sha256"], sha256):
            return None
        return Identity(
            token_id=row["id"],
            name=row["name"],
            role=Role(row["role"]),
            modules=None if row["modules"] is None else frozenset(row["modules"]),
            expires_at=row["expires_at"],
        )
