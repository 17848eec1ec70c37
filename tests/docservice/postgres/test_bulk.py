"""What a worker does at the same moment is not lost behind a deletion or a retry."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from docservice.domain.documents import DocumentType, NewDocument
from docservice.domain.extraction import Attachment, Content, Extraction
from docservice.domain.grid.query import GridQuery
from docservice.postgres.bulk import Bulk, NewJob
from docservice.postgres.database import Database
from docservice.postgres.documents import Documents
from tests.docservice.conftest import pool_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def new(key: str) -> NewDocument:
    return NewDocument(
        module="mail",
        document_type=DocumentType.EMAIL,
        file_name="a.eml",
        content_type="message/rfc822",
        size_bytes=1,
        sha256="s",
        blob_key=key,
    )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(pool_settings(url))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def test_an_attachment_that_a_worker_stores_while_its_mail_is_deleted_goes_as_well(database_url: str) -> None:
    async def run() -> tuple[int, int, list[str]]:
        async with opened(database_url) as database:
            bulk, documents = Bulk(database), Documents(database)
            [mail] = await documents.add([new("mail")])
            worker = await asyncpg.connect(database_url)
            done = worker.transaction()
            await done.start()
            # As Documents.finish does it: the mail's own row, then its attachments, in one transaction.
            await worker.execute("update documents set state = 'processed' where id = $1", mail)
            deleting = asyncio.create_task(bulk.delete(mail, "mail"))
            waiting = 0
            while not waiting:
                waiting = len(
                    await database.fetch(
                        "select 1 from pg_locks where not granted and locktype = 'transactionid'"
                    )
                )
            await worker.execute(
                "insert into documents (module, document_type, title, file_name, content_type, size_bytes,"
                " sha256, blob_key, parent_id, part, depth)"
                " values ('mail', 'pdf', 't', 'f', 'c', 1, 's', 'attached', $1, 0, 1)",
                mail,
            )
            await done.commit()
            await worker.close()
            deleted = await deleting
            left = await database.fetch("select id from documents")
            return deleted, len(left), sorted(await bulk.removed_blobs(limit=10))

    assert asyncio.run(run()) == (2, 0, ["attached", "mail"])


def test_a_worker_that_ends_after_a_deletion_stores_nothing(database_url: str) -> None:
    part = Attachment(
        part=0,
        file_name="a.pdf",
        content=Content(document_type=DocumentType.PDF, content_type="application/pdf"),
        data=b"x",
        sha256="s",
    )

    async def run() -> tuple[Any, int]:
        async with opened(database_url) as database:
            documents = Documents(database)
            [mail] = await documents.add([new("mail")])
            claim = await documents.claim(mail, lease_seconds=60)
            assert claim is not None
            await Bulk(database).delete(mail, "mail")
            stored = await documents.finish(claim, Extraction(text="text", attachments=(part,)), ["key"])
            return stored, len(await database.fetch("select id from documents"))

    assert asyncio.run(run()) == (None, 0)


# Each deleted row takes 20 ms, where a statement may take 400.
_SLOW = """
create function slowly() returns trigger language plpgsql as
    $$ begin perform pg_sleep(0.02); return old; end $$;
create trigger slow before delete on documents for each row execute function slowly();
"""
_ATTACHMENTS = """
insert into documents (module, document_type, title, file_name, content_type, size_bytes, sha256, blob_key,
    parent_id, part, depth)
select 'mail', 'pdf', 't', 'f', 'c', 1, 's', 'part-' || n, $1, n, 1 from generate_series(1, 30) n
"""


async def begun(database: Database, ids: list[int]) -> UUID:
    """A job that deletes these documents."""
    job = NewJob(
        id=uuid4(),
        module="mail",
        action="delete",
        token_id=1,
        actor="a",
        request_id="r",
        remote_address="1",
    )
    await Bulk(database).begin(job, GridQuery(module="mail"), ids, None)
    return job.id


@pytest.mark.slow
def test_a_job_on_more_than_postgres_does_in_time_is_cut_into_smaller_steps(database_url: str) -> None:
    async def run() -> tuple[object, ...]:
        slow = Database(replace(pool_settings(database_url), statement_timeout_seconds=0.4))
        await slow.open()
        async with opened(database_url) as database:
            ids = await Documents(database).add([new(f"{number}") for number in range(40)])
            await database.fetch(_ATTACHMENTS, ids[0])
            async with database.connection() as connection:
                await connection.execute(_SLOW)
            job = await begun(database, ids)
            bulk = Bulk(slow)
            while await bulk.step() is not None:
                pass
            await slow.close()
            found = await Bulk(database).job(job) or {}
            left = await database.fetch("select id from documents")
            return found["state"], found["total"], found["done"], found["changed"], len(left)

    assert asyncio.run(run()) == ("done", 40, 40, 70, 0)


def test_a_document_that_stays_locked_lets_the_other_jobs_go_first(database_url: str) -> None:
    async def run() -> tuple[object, ...]:
        async with opened(database_url) as database:
            locked, free = await Documents(database).add([new("locked"), new("free")])
            bulk, jobs = Bulk(database), [await begun(database, [one]) for one in (locked, free)]
            async with database.transaction() as other:
                await other.execute("select from documents where id = $1 for update", locked)
                steps = [await bulk.step(), await bulk.step()]
            steps.append(await bulk.step())
            states = [(await bulk.job(job) or {})["state"] for job in jobs]
            return [step and (step.changed, step.put_off) for step in steps], states

    assert asyncio.run(run()) == ([(0, 1), (1, 0), (1, 0)], ["done", "done"])


def test_a_retried_document_has_all_its_attempts_and_no_earlier_claim_holds(database_url: str) -> None:
    async def run() -> list[Any]:
        async with opened(database_url) as database:
            documents, bulk = Documents(database), Bulk(database)
            [mail] = await documents.add([new("mail")])
            first = await documents.claim(mail, lease_seconds=60)
            assert first is not None
            await documents.fail(first, "broken")
            assert await bulk.retry(mail, "mail")
            second = await documents.claim(mail, lease_seconds=60)
            assert second is not None
            late = await documents.finish(first, Extraction(text="late"), [])
            await documents.finish(second, Extraction(text="right"), [])
            return [
                second.attempt,
                second.tries,
                late,
                await documents.text(mail),
                await bulk.retry(mail, "mail"),
            ]

    assert asyncio.run(run()) == [2, 1, None, "right", False]
