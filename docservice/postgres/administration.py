"""The SQL of administration: the audit, commands that were repeated, drains that run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

if TYPE_CHECKING:
    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One attempt at the workers: who, from where, what, before and after, and what came of it."""

    request_id: str
    token_id: int | None
    actor: str
    remote_address: str
    action: str
    request: dict[str, Any]
    size_before: dict[str, int] | None
    size_after: dict[str, int] | None
    outcome: str
    status: int
    duration_seconds: float


class DrainRunsError(RuntimeError):
    """Another drain has not ended yet."""


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _shown(row: Any, *names: str) -> dict[str, Any]:
    return {
        name: orjson.loads(value) if name in names and value is not None else value
        for name, value in dict(row).items()
    }


class Administration:
    """What administrators did; methods raise StoreUnavailableError when Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, record: AuditRecord) -> None:
        """Keep a record of one attempt."""
        await self._database.fetch(
            "insert into admin_audit (request_id, token_id, actor, remote_address, action, request,"
            " size_before, size_after, outcome, status, duration_seconds)"
            " values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8::jsonb, $9, $10, $11)",
            record.request_id,
            record.token_id,
            record.actor,
            record.remote_address,
            record.action,
            _json(record.request),
            _json(record.size_before),
            _json(record.size_after),
            record.outcome,
            record.status,
            record.duration_seconds,
        )

    async def records(self, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """The latest attempts, or those before one of them."""
        rows = await self._database.fetch(
            "select * from admin_audit where ($1::bigint is null or id < $1) order by id desc limit $2",
            before,
            limit,
        )
        return [_shown(row, "request", "size_before", "size_after") for row in rows]

    # Commands that are repeated

    async def begin_command(self, *, token_id: int, key: str, request: str) -> dict[str, Any] | None:
        """Note a command under the caller's key; None when it is new, else what is known of the first."""
        await self._database.fetch("delete from idempotency_keys where created_at < now() - interval '1 day'")
        row = await self._database.fetch_row(
            "insert into idempotency_keys (token_id, key, request) values ($1, $2, $3)"
            " on conflict do nothing returning key",
            token_id,
            key,
            request,
        )
        if row is not None:
            return None
        row = await self._database.fetch_row(
            "select request, status, answer from idempotency_keys where token_id = $1 and key = $2",
            token_id,
            key,
        )
        return {"request": "", "status": None, "answer": None} if row is None else _shown(row, "answer")

    async def end_command(self, *, token_id: int, key: str, status: int, answer: object) -> None:
        """Keep the answer that a repetition is given."""
        await self._database.fetch(
            "update idempotency_keys set status = $3, answer = $4::jsonb where token_id = $1 and key = $2",
            token_id,
            key,
            status,
            _json(answer),
        )

    async def forget_command(self, *, token_id: int, key: str) -> None:
        """Let a command that did not happen be sent again under its key."""
        await self._database.fetch(
            "delete from idempotency_keys where token_id = $1 and key = $2", token_id, key
        )

    # Drains

    async def begin_drain(self, *, workers: list[str], seconds: float, report: object) -> str:
        """Store a drain that begins and return its id.

        Raises:
            DrainRunsError: when another runs. One whose process is gone counts as ended.
        """
        drain_id = uuid.uuid4()
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    "update drains set state = 'failed', ended_at = now()"
                    " where state = 'running' and heartbeat_at < now() - interval '30 seconds'"
                )
                await connection.execute(
                    "insert into drains (id, workers, state, report, deadline_at)"
                    " values ($1, $2, 'running', $3::jsonb, now() + make_interval(secs => $4))",
                    drain_id,
                    workers,
                    _json(report),
                    seconds,
                )
        except asyncpg.UniqueViolationError as fault:
            raise DrainRunsError("another drain has not ended yet; wait for it") from fault
        return str(drain_id)

    async def tell_drain(self, drain_id: str, *, report: object, state: str = "running") -> None:
        """Store how far a drain has come."""
        await self._database.fetch(
            "update drains set report = $2::jsonb, state = $3, heartbeat_at = now(),"
            " ended_at = case when $3 = 'running' then null else now() end where id = $1",
            uuid.UUID(drain_id),
            _json(report),
            state,
        )

    async def drain(self, drain_id: uuid.UUID) -> dict[str, Any] | None:
        """What is known of a drain; ``lost`` when its process has not been heard of for a while."""
        row = await self._database.fetch_row(
            "select id::text, workers, case when state = 'running' and heartbeat_at < now()"
            " - interval '30 seconds' then 'lost' else state end as state, report, begun_at, deadline_at,"
            " ended_at from drains where id = $1",
            drain_id,
        )
        return None if row is None else _shown(row, "report")
