"""The SQL of work on documents that users ask for: deleting and retrying, one at a time or many.

How it works: a job for many is a list of ids, in chunks, taken when it begins; what is stored later is not
touched. One transaction does the work of a chunk, removes the chunk and counts, so that a job whose process
ends is taken up where it stopped, and nothing is done twice. One chunk is worked on at a time, whatever the
number of processes: an advisory lock, which single deletions take too, keeps them from a deadlock. A
chunk that Postgres does not do in time, as for mails with many attachments, is cut in two; one document may
take long, unless it is locked. Then the jobs that waited longer go first.

A deleted document takes its attachments along. Its row is locked before they are looked for: a worker stores
attachments in the transaction that changes that row, so none is added behind it. The names of all files are
kept in ``removed_blobs`` by the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import asyncpg

from docservice.postgres.backups import NO_BACKUP
from docservice.postgres.grid_where import Arguments, direct, where

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from docservice.domain.grid.query import GridQuery
    from docservice.postgres.database import Database

Action: TypeAlias = Literal["delete", "retry"]
CHUNK_DOCUMENTS = 200
MAX_DOCUMENTS = 1_000_000
#: For one document, whose attachments may be very many.
_LONG_SECONDS = 600
_ALONE = f"set local statement_timeout = '{_LONG_SECONDS}s'; set local lock_timeout = '2s'"
#: Chosen at random, the same in every process.
_LOCK = 7_021_094_420
_JOB = "id::text, module, action, actor, state, total, done, changed, begun_at, ended_at, number"
_NEXT = """
select c.job_id, c.number, c.ids, j.module, j.action from bulk_chunks c join bulk_jobs j on j.id = c.job_id
order by j.heartbeat_at, c.job_id, c.number limit 1
"""
_COUNTED = """
update bulk_jobs set done = done + $2, changed = changed + $3, heartbeat_at = clock_timestamp(),
    state = case when l.n > 0 then 'running' else 'done' end,
    ended_at = case when l.n > 0 then null else clock_timestamp() end
from (select count(*) as n from (select from bulk_chunks where job_id = $1 limit 1) c) l
where id = $1
returning state
"""
_AUDITED = """
insert into admin_audit (request_id, token_id, actor, remote_address, action, request, outcome, status,
    duration_seconds)
select request_id, token_id, actor, remote_address, 'documents.' || action || '.ended',
    jsonb_build_object('module', module, 'job', id, 'total', total, 'changed', changed), 'done', 200,
    extract(epoch from clock_timestamp() - begun_at)
from bulk_jobs where id = $1
"""
_RETRY = """
update documents set state = 'received', failure = null, processed_at = null, claimed_at = null,
    enqueued_at = null, earlier_attempts = attempts
where id = any($1::bigint[]) and module = $2 and state = 'failed'
returning id
"""


class TooManyDocumentsError(ValueError):
    """More documents than one job may change; the message says how many it may."""


class UnexpectedTotalError(ValueError):
    """Other documents match than the caller has seen; ``total`` is their number."""

    def __init__(self, total: int) -> None:
        super().__init__(f"{total} documents match now; look at them and send that as expected_total")
        self.total = total


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to begin, and who asked for it."""

    id: uuid.UUID
    module: str
    action: Action
    token_id: int
    actor: str
    request_id: str
    remote_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one chunk of a job did: ``changed`` documents, of which ``retried`` are to be sent to workers.

    ``put_off`` documents took too long and are tried again, in smaller chunks where they are several.
    """

    module: str
    changed: int
    retried: tuple[int, ...]
    put_off: int = 0


class Bulk:
    """Deletes and retries documents. Every method raises StoreUnavailableError when Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, job: NewJob, query: GridQuery, ids: Sequence[int] | None, expected: int | None
    ) -> int:
        """Store a job for the documents of a query, or for ``ids`` of its module; return their number.

        A job that is stored already stays as it is.

        Raises:
            TooManyDocumentsError, UnexpectedTotalError: nothing is stored then.
        """
        arguments = Arguments(direct)
        condition = where(query, arguments)
        job_id = f"{arguments.bind(lambda _: str(job.id), 'text')}::text::uuid"
        if ids is not None:
            condition += f" and d.id = any(${len(arguments.types) + 1}::bigint[])"
        async with self._database.transaction() as connection:
            await connection.execute("set local plan_cache_mode = force_custom_plan")
            if await connection.fetchval(_INSERT_JOB, *_values(job)) is None:
                return int(await connection.fetchval("select total from bulk_jobs where id = $1", job.id))
            total = await connection.fetchval(
                "with chosen as (select d.id, (row_number() over (order by d.id) - 1) /"
                f" {CHUNK_DOCUMENTS} as place from documents d where {condition} limit {MAX_DOCUMENTS + 1}),"
                " chunks as (insert into bulk_chunks (job_id, number, ids)"
                f" select {job_id}, place, array_agg(id order by id) from chosen group by place"
                " returning cardinality(ids) as n) select coalesce(sum(n), 0)::bigint from chunks",
                *arguments.values(query),
                *([] if ids is None else [list(ids)]),
            )
            if total > MAX_DOCUMENTS:
                raise TooManyDocumentsError(f"more than {MAX_DOCUMENTS} documents match; narrow it down")
            if expected is not None and total != expected:
                raise UnexpectedTotalError(total)
            await connection.execute("update bulk_jobs set total = $2 where id = $1", job.id, total)
            if not total:
                await connection.fetchval(_COUNTED, job.id, 0, 0)
                await connection.execute(_AUDITED, job.id)
        return int(total)

    async def job(self, job_id: uuid.UUID) -> dict[str, Any] | None:
        """A job and how far it is, or None."""
        row = await self._database.fetch_row(f"select {_JOB} from bulk_jobs where id = $1", job_id)
        return None if row is None else dict(row)

    async def jobs(self, module: str, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """The latest jobs of a module, or those before the number of one of them."""
        rows = await self._database.fetch(
            f"select {_JOB} from bulk_jobs where module = $1 and ($2::bigint is null or number < $2)"
            " order by number desc limit $3",
            module,
            before,
            limit,
        )
        return [dict(row) for row in rows]

    async def step(self) -> Step | None:
        """Do the work of one chunk; None when there is none, or another process is at it."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
                return None
            chunk = await connection.fetchrow(_NEXT)
            if chunk is None:
                return None
            job_id, number, ids, module, action = chunk
            if len(ids) == 1:
                await connection.execute(_ALONE)
            try:
                async with connection.transaction():
                    changed, retried = await _work(connection, action, ids, module)
            except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError):
                await _put_off(connection, job_id, number, ids)
                return Step(module=module, changed=0, retried=(), put_off=len(ids))
            await connection.execute(
                "delete from bulk_chunks where job_id = $1 and number = $2", job_id, number
            )
            if await connection.fetchval(_COUNTED, job_id, len(ids), changed) == "done":
                await connection.execute(_AUDITED, job_id)
            return Step(module=module, changed=changed, retried=retried)

    async def delete(self, document_id: int, module: str) -> int:
        """Delete one document with its attachments; return how many documents that were."""
        async with self._database.transaction() as connection:
            await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
            return await _delete(connection, [document_id], module)

    async def retry(self, document_id: int, module: str) -> bool:
        """Have a failed document processed again; False when it is not failed."""
        return await self._database.fetch_row(_RETRY, [document_id], module) is not None

    async def removed_blobs(self, *, limit: int) -> list[str]:
        """Names of files whose documents are deleted, the oldest first; none while a backup runs."""
        rows = await self._database.fetch(
            f"select blob_key from removed_blobs where {NO_BACKUP} order by removed_at, blob_key limit $1",
            limit,
        )
        return [row["blob_key"] for row in rows]

    async def put_blobs_last(self, keys: Sequence[str]) -> None:
        """Put these at the end of the list: they cannot be removed now."""
        await self._database.fetch(
            "update removed_blobs set removed_at = now() where blob_key = any($1::text[])", list(keys)
        )

    async def forget_blobs(self, keys: Sequence[str]) -> None:
        """Take these off the list: they are gone."""
        await self._database.fetch("delete from removed_blobs where blob_key = any($1::text[])", list(keys))


_INSERT_JOB = """
insert into bulk_jobs (id, module, action, token_id, actor, request_id, remote_address)
values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing returning id
"""


def _values(job: NewJob) -> tuple[object, ...]:
    return (job.id, job.module, job.action, job.token_id, job.actor, job.request_id, job.remote_address)


async def _work(
    connection: Any, action: Action, ids: Sequence[int], module: str
) -> tuple[int, tuple[int, ...]]:
    """How many documents were changed, and which of them are to be sent to workers."""
    if action == "delete":
        return await _delete(connection, ids, module), ()
    retried = tuple(row["id"] for row in await connection.fetch(_RETRY, ids, module))
    return len(retried), retried


async def _put_off(connection: Any, job_id: uuid.UUID, number: int, ids: Sequence[int]) -> None:
    """Let other jobs go first, and cut the chunk in two."""
    await connection.execute("update bulk_jobs set heartbeat_at = clock_timestamp() where id = $1", job_id)
    half = len(ids) // 2
    if not half:
        return
    await connection.execute(
        "update bulk_chunks set ids = $3 where job_id = $1 and number = $2", job_id, number, ids[:half]
    )
    await connection.execute(
        "insert into bulk_chunks (job_id, number, ids)"
        " select $1, max(number) + 1, $2 from bulk_chunks where job_id = $1",
        job_id,
        ids[half:],
    )


async def _delete(connection: Any, ids: Sequence[int], module: str) -> int:
    rows = await connection.fetch(
        "select id from documents where id = any($1::bigint[]) and module = $2 order by id for update",
        list(ids),
        module,
        timeout=_LONG_SECONDS,
    )
    found = {row["id"] for row in rows}
    level = list(found)
    while level:  # mails within mails: each level is locked before the next is looked for
        rows = await connection.fetch(
            "select id from documents where parent_id = any($1::bigint[]) order by id for update",
            level,
            timeout=_LONG_SECONDS,
        )
        level = [row["id"] for row in rows if row["id"] not in found]
        found.update(level)
    deleted = await connection.fetchval(
        "with gone as (delete from documents where id = any($1::bigint[]) returning blob_key),"
        " kept as (insert into removed_blobs (blob_key) select blob_key from gone on conflict do nothing)"
        " select count(*) from gone",
        list(found),
        timeout=_LONG_SECONDS,
    )
    return int(deleted)
