"""The SQL of documents: stored, claimed by one worker, finished or failed, found again when forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docservice.domain.documents import Claim, DocumentType, NewDocument
from docservice.postgres.backups import NO_BACKUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docservice.domain.extraction import Extraction
    from docservice.postgres.database import Database

_INSERT = """
insert into documents
    (module, document_type, mail_number, title, file_name, content_type, size_bytes, sha256, blob_key,
     traceparent)
select *, $10::text from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                                $7::bigint[], $8::text[], $9::text[])
returning id
"""
_INSERT_PARTS = """
insert into documents
    (module, document_type, mail_number, title, file_name, content_type, size_bytes, sha256, blob_key,
     parent_id, part, depth, traceparent)
select $1, t, $2, n, n, c, s, h, b, $3, p, $4, $12::text
from unnest($5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::int[])
     as x (t, n, c, s, h, b, p)
returning id
"""
# A claim that was not kept is an earlier one's: its worker died, or is past its time limit. One "sent" in the
# future waits for its retry, whose own message comes then: a duplicate does not end the wait.
_CLAIM = """
update documents set state = 'processing', claimed_at = now(), attempts = attempts + 1
where id = $1 and ((state = 'received' and (enqueued_at is null or enqueued_at < now() + interval '1 second'))
                   or (state = 'processing' and claimed_at < now() - make_interval(secs => $2)))
returning id, module, document_type, file_name, size_bytes, blob_key, mail_number, depth, attempts,
    attempts - earlier_attempts as tries, traceparent,
    extract(epoch from now() - refused_at) as refused_seconds
"""
_FINISH = """
update documents set state = 'processed', processed_at = now(), claimed_at = null, failure = null,
    refused_at = null,
    mail_number = coalesce($3, mail_number), title = coalesce($4, title), sender = $5, pages = $6,
    sent_at = $7, to_addresses = $8, cc_addresses = $9, message_id = $10, findings = $11
where id = $1 and attempts = $2 and state = 'processing'
returning mail_number
"""
_FAIL = """
update documents set state = 'failed', failure = $3, processed_at = now(), claimed_at = null,
    refused_at = null
where id = $1 and attempts = $2 and state = 'processing' returning module
"""
_RELEASE = """
update documents set state = 'received', claimed_at = null, enqueued_at = now() + make_interval(secs => $3),
    earlier_attempts = earlier_attempts + case when $4 then 0 else 1 end,
    refused_at = case when $5 then coalesce(refused_at, now()) end
where id = $1 and attempts = $2 and state = 'processing' returning module
"""
_UNSENT = """
update documents set enqueued_at = now()
where id in (
    select id from documents
    where state = 'received' and enqueued_at is null and received_at < now() - make_interval(secs => $1)
    order by id limit $2 for update skip locked)
returning id
"""
_OLDEST_UNPROCESSED = """
select extract(epoch from now() - min(received_at)) as seconds from documents where state = 'received'
"""
_SENT_BEFORE = """
select id from documents
where state = 'received' and enqueued_at < now() - make_interval(secs => $1) order by id
"""
_SEND_AGAIN = """
update documents set enqueued_at = now()
where id = any($1::bigint[]) and state = 'received' and enqueued_at < now() - make_interval(secs => $2)
returning id
"""
_ABANDONED = """
update documents set
    state = case when attempts - earlier_attempts >= $2 then 'failed' else 'received' end,
    failure = case when attempts - earlier_attempts >= $2 then $3 end,
    processed_at = case when attempts - earlier_attempts >= $2 then now() end,
    claimed_at = null, enqueued_at = null
where id in (
    select id from documents
    where state = 'processing' and claimed_at < now() - make_interval(secs => $1)
    order by id limit 500 for update skip locked)
returning module, state
"""
_SHOWN = """
select id, module, document_type, mail_number, title, sender, file_name, content_type, size_bytes, state,
    failure, pages, parent_id, received_at, processed_at, sha256, attempts, blob_key,
    sent_at, to_addresses, cc_addresses, message_id, findings
from documents where id = $1
"""
IDS_OF_BLOBS = """
select id from documents where blob_key = any($1::text[]) order by array_position($1::text[], blob_key)
"""
KNOWN_BLOBS = """
select blob_key from documents where blob_key = any($1::text[])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """What became of documents whose workers were lost, by module."""

    modules: frozenset[str]
    returned: int
    failed: int


class Documents:
    """Documents in Postgres. Every method raises StoreUnavailableError when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, documents: Sequence[NewDocument], *, traceparent: str | None = None) -> list[int]:
        """Store new documents of one trace, all or none, and return their ids in the same order."""
        columns = [
            (
                item.module,
                item.document_type.value,
                item.mail_number,
                item.file_name,
                item.file_name,
                item.content_type,
                item.size_bytes,
                item.sha256,
                item.blob_key,
            )
            for item in documents
        ]
        values = (list(column) for column in zip(*columns, strict=True))
        rows = await self._database.fetch(_INSERT, *values, traceparent)
        return [row["id"] for row in rows]

    async def get(self, document_id: int) -> dict[str, Any] | None:
        """All that is shown of a document, or None when there is none."""
        row = await self._database.fetch_row(_SHOWN, document_id)
        return None if row is None else dict(row)

    async def text(self, document_id: int) -> str | None:
        """The text that was found in a document, or None."""
        row = await self._database.fetch_row(
            "select content from document_texts where document_id = $1", document_id
        )
        return None if row is None else str(row["content"])

    async def states(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Id, module, state and failure of those of the ids that there are."""
        rows = await self._database.fetch(
            "select id, module, state, failure from documents where id = any($1::bigint[]) order by id",
            list(ids),
        )
        return [dict(row) for row in rows]

    async def enqueued(self, ids: Sequence[int]) -> None:
        """Mark these as sent to the workers."""
        await self._database.fetch(
            # The latest: a worker may have claimed one already, and have it wait for its retry.
            "update documents set enqueued_at = greatest(enqueued_at, now())"
            " where id = any($1::bigint[]) and state = 'received'",
            list(ids),
        )

    async def claim(self, document_id: int, *, lease_seconds: float) -> Claim | None:
        """Take a document to process it; None when it is done, in other hands or waiting for its retry."""
        row = await self._database.fetch_row(_CLAIM, document_id, lease_seconds)
        if row is None:
            return None
        return Claim(
            id=row["id"],
            module=row["module"],
            document_type=DocumentType(row["document_type"]),
            file_name=row["file_name"],
            size_bytes=row["size_bytes"],
            blob_key=row["blob_key"],
            mail_number=row["mail_number"],
            depth=row["depth"],
            attempt=row["attempts"],
            tries=row["tries"],
            refused_seconds=float(row["refused_seconds"] or 0.0),
            traceparent=row["traceparent"],
        )

    async def finish(
        self,
        claim: Claim,
        extraction: Extraction,
        blob_keys: Sequence[str],
        *,
        traceparent: str | None = None,
    ) -> list[int] | None:
        """Store what was found, with the attachments as documents of their own, and return their ids.

        ``traceparent`` is the trace that they belong to.

        None, and nothing stored, when the claim is no longer held.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_FINISH, claim.id, claim.attempt, *_own_values(extraction))
            if row is None:
                return None
            if extraction.text:
                await connection.execute(
                    "insert into document_texts values ($1, $2)"
                    " on conflict (document_id) do update set content = excluded.content",
                    claim.id,
                    extraction.text,
                )
            if not extraction.attachments:
                return []
            parts = extraction.attachments
            rows = await connection.fetch(
                _INSERT_PARTS,
                claim.module,
                row["mail_number"],
                claim.id,
                claim.depth + 1,
                [part.content.document_type.value for part in parts],
                [part.file_name for part in parts],
                [part.content.content_type for part in parts],
                [len(part.data) for part in parts],
                [part.sha256 for part in parts],
                list(blob_keys),
                [part.part for part in parts],
                traceparent,
            )
            return [item["id"] for item in rows]

    async def fail(self, claim: Claim, reason: str) -> bool:
        """Give a document up, with the reason for people; False when the claim is no longer held."""
        return await self._database.fetch_row(_FAIL, claim.id, claim.attempt, reason) is not None

    async def release(
        self, claim: Claim, *, retry_in_seconds: float, counted: bool = True, refused: bool = False
    ) -> bool:
        """End a claim, to be retried in that time; False when it is no longer held.

        One that is not ``counted`` takes none of the document's attempts. ``refused`` says that the store
        took others' files and refused one of this document.
        """
        row = await self._database.fetch_row(
            _RELEASE, claim.id, claim.attempt, retry_in_seconds, counted, refused
        )
        return row is not None

    async def traceparents(self, ids: Sequence[int]) -> dict[int, str]:
        """The traces of those of the ids that belong to one."""
        rows = await self._database.fetch(
            "select id, traceparent from documents where id = any($1::bigint[]) and traceparent is not null",
            list(ids),
        )
        return {row["id"]: row["traceparent"] for row in rows}

    async def unsent(self, *, fresh_seconds: float, limit: int) -> list[int]:
        """Ids that were never sent, marked as sent; each is returned to one caller alone."""
        rows = await self._database.fetch(_UNSENT, fresh_seconds, limit)
        return [row["id"] for row in rows]

    async def sent_before(self, *, seconds: float) -> list[int]:
        """Ids that were sent longer ago than that and that no worker has claimed."""
        return [row["id"] for row in await self._database.fetch(_SENT_BEFORE, seconds)]

    async def oldest_unprocessed_seconds(self) -> float:
        """How long the oldest document waits that no worker has claimed, 0 where there is none."""
        (row,) = await self._database.fetch(_OLDEST_UNPROCESSED)
        return max(0.0, float(row["seconds"] or 0.0))

    async def send_again(self, ids: Sequence[int], *, seconds: float) -> list[int]:
        """Those of the ids that are still so, marked as sent now; each is returned to one caller alone."""
        rows = await self._database.fetch(_SEND_AGAIN, list(ids), seconds)
        return [row["id"] for row in rows]

    async def not_enqueued(self, ids: Sequence[int]) -> None:
        """Mark these as not sent: their messages did not reach the queue."""
        await self._database.fetch(
            "update documents set enqueued_at = null where id = any($1::bigint[]) and state = 'received'",
            list(ids),
        )

    async def abandoned(self, *, lease_seconds: float, max_attempts: int, reason: str) -> Abandoned:
        """Return documents that lost workers had claimed, or mark them failed after ``max_attempts``."""
        rows = await self._database.fetch(_ABANDONED, lease_seconds, max_attempts, reason)
        return Abandoned(
            modules=frozenset(row["module"] for row in rows),
            returned=sum(row["state"] == "received" for row in rows),
            failed=sum(row["state"] == "failed" for row in rows),
        )

    async def ids_of_blobs(self, keys: Sequence[str]) -> list[int]:
        """The ids of the documents with these files, in the order of the keys; missing ones are left out."""
        rows = await self._database.fetch(IDS_OF_BLOBS, list(keys))
        return [row["id"] for row in rows]

    async def known_blobs(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that a document has."""
        rows = await self._database.fetch(KNOWN_BLOBS, list(keys))
        return {row["blob_key"] for row in rows}

    async def orphans(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that no document has; none while a backup runs."""
        rows = await self._database.fetch(
            "select key from unnest($1::text[]) key"
            f" where {NO_BACKUP} and not exists (select from documents where blob_key = key)",
            list(keys),
        )
        return {row["key"] for row in rows}


def _own_values(extraction: Extraction) -> tuple[object, ...]:
    """The values of ``_FINISH`` that belong to the document itself, from ``$3`` on."""
    return (
        extraction.mail_number,
        extraction.title,
        extraction.sender,
        extraction.pages,
        extraction.sent_at,
        extraction.to_addresses,
        extraction.cc_addresses,
        extraction.message_id,
        list(extraction.findings),
    )
