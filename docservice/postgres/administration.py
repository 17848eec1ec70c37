"""The SQL of administration: the audit, idempotency keys, drains."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime  # noqa: TC003 - FastAPI reads the annotations of AuditEntry
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

if TYPE_CHECKING:
    import uuid

    from docservice.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One attempt at the workers: who, from where, what, sizes before and after, and the outcome.

    ``outcome`` is ``started`` from before the work until its end; so it stays where the process died.
    """

    request_id: str
    token_id: int | None
    actor: str
    remote_address: str
    action: str
    request: dict[str, Any]
    size_before: dict[str, Any] | None
    size_after: dict[str, Any] | None
    outcome: str
    status: int
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(AuditRecord):
    """A record as it is stored. Two classes, since only Postgres knows the id and time of a row."""

    id: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedCommand:
    """What is known of a request under its key; ``status`` is None while it is in progress.

    ``answer`` is its answer, or its saved progress. ``ours`` says that the caller shall do the work.
    """

    request: str
    status: int | None
    answer: Any
    ours: bool


class DrainRunsError(RuntimeError):
    """Another drain is running."""


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _shown(row: Any, *names: str) -> dict[str, Any]:
    return {
        name: orjson.loads(value) if name in names and value is not None else value
        for name, value in dict(row).items()
    }


def _columns(record: AuditRecord) -> tuple[object, ...]:
    found = asdict(record)
    for name in ("request", "size_before", "size_after"):
        found[name] = _json(found[name])
    return tuple(found.values())


class Administration:
    """What administrators did. Every method raises StoreUnavailableError when Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_record(self, record: AuditRecord) -> int:
        """Add a record and return its id."""
        row = await self._database.fetch_row(
            "insert into admin_audit (request_id, token_id, actor, remote_address, action, request,"
            " size_before, size_after, outcome, status, duration_seconds)"
            " values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8::jsonb, $9, $10, $11) returning id",
            *_columns(record),
        )
        return int(row["id"])

    async def end_record(self, record_id: int, record: AuditRecord) -> None:
        """Complete a record with its sizes, outcome, status and duration."""
        *_, before, after, outcome, status, seconds = _columns(record)
        await self._database.fetch(
            "update admin_audit set size_before = $2::jsonb, size_after = $3::jsonb, outcome = $4,"
            " status = $5, duration_seconds = $6 where id = $1",
            record_id,
            before,
            after,
            outcome,
            status,
            seconds,
        )

    async def records(
        self,
        *,
        limit: int,
        before: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
    ) -> list[AuditEntry]:
        """The latest attempts for which all filters given hold; ``before`` is an id."""
        rows = await self._database.fetch(
            "select * from admin_audit where ($1::bigint is null or id < $1)"
            " and ($2::text is null or actor = $2) and ($3::text is null or action = $3)"
            " and ($4::text is null or outcome = $4) and ($5::timestamptz is null or at >= $5)"
            " order by id desc limit $6",
            before,
            actor,
            action,
            outcome,
            since,
            limit,
        )
        names = [item.name for item in fields(AuditEntry)]
        shown = [_shown(row, "request", "size_before", "size_after") for row in rows]
        return [AuditEntry(**{name: row[name] for name in names}) for row in shown]

    # Idempotency keys

    async def begin_command(
        self, *, token_id: int, key: str, request: str, lease_seconds: float
    ) -> AuditedCommand:
        """Take the key where it is new or its request was abandoned; else return what is known of it."""
        await self._database.fetch("delete from idempotency_keys where created_at < now() - interval '1 day'")
        while True:
            row = await self._database.fetch_row(
                "insert into idempotency_keys as k (token_id, key, request) values ($1, $2, $3)"
                " on conflict (token_id, key) do update set created_at = now()"
                " where k.status is null and k.request = excluded.request"
                " and k.created_at < now() - make_interval(secs => $4)"
                " returning request, status, answer",
                token_id,
                key,
                request,
                lease_seconds,
            )
            ours = row is not None
            if row is None:
                row = await self._database.fetch_row(
                    "select request, status, answer from idempotency_keys where token_id = $1 and key = $2",
                    token_id,
                    key,
                )
            if row is not None:  # else it was deleted between the two
                return AuditedCommand(**_shown(row, "answer"), ours=ours)

    async def save_command(self, *, token_id: int, key: str, progress: object) -> None:
        """Save how far a request has come, and keep its key for another lease."""
        await self._database.fetch(
            "update idempotency_keys set answer = $3::jsonb, created_at = now()"
            " where token_id = $1 and key = $2",
            token_id,
            key,
            _json(progress),
        )

    async def end_command(self, *, token_id: int, key: str, status: int, answer: object) -> None:
        """Store the answer that a repetition gets."""
        await self._database.fetch(
            "update idempotency_keys set status = $3, answer = $4::jsonb where token_id = $1 and key = $2",
            token_id,
            key,
            status,
            _json(answer),
        )

    async def release_command(self, *, token_id: int, key: str, lease_seconds: float) -> None:
        """Let the next request with this key continue at once from the saved progress."""
        await self._database.fetch(
            "update idempotency_keys set created_at = created_at - make_interval(secs => $3)"
            " where token_id = $1 and key = $2 and status is null",
            token_id,
            key,
            lease_seconds,
        )

    async def forget_command(self, *, token_id: int, key: str) -> None:
        """Free the key of a request that changed nothing."""
        await self._database.fetch(
            "delete from idempotency_keys where token_id = $1 and key = $2", token_id, key
        )

    # Drains

    async def begin_drain(
        self, *, drain_id: uuid.UUID, workers: list[str], seconds: float, report: object
    ) -> None:
        """Store a drain that begins.

        Raises:
            DrainRunsError: when another runs. One whose process is gone counts as ended.
        """
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
            raise DrainRunsError("another drain is running; wait for it") from fault

    async def save_drain(self, drain_id: uuid.UUID, *, report: object, state: str = "running") -> None:
        """Store how far a drain has come."""
        await self._database.fetch(
            "update drains set report = $2::jsonb, state = $3, heartbeat_at = now(),"
            " ended_at = case when $3 = 'running' then null else now() end where id = $1",
            drain_id,
            _json(report),
            state,
        )

    async def drain(self, drain_id: uuid.UUID) -> dict[str, Any] | None:
        """A drain; its state is ``lost`` when its process has not saved it for 30 s."""
        row = await self._database.fetch_row(
            "select id::text, workers, case when state = 'running' and heartbeat_at < now()"
            " - interval '30 seconds' then 'lost' else state end as state, report, begun_at, deadline_at,"
            " ended_at from drains where id = $1",
            drain_id,
        )
        return None if row is None else _shown(row, "report")
