"""A volume that is not mounted, or another database's store, is not taken for an empty store."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docservice.dev.samples import sample_mail
from docservice.ingest.blob_errors import BlobError, BlobsAwayError
from docservice.ingest.blobs import MARKER, BlobStore
from docservice.ingest.store_identity import identify
from docservice.ingest.tasks import Result, TryAgainError
from tests.docservice.conftest import _execute, fresh_database
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docservice.config import Settings
    from tests.docservice.conftest import Servers

ACCEPT = "; if it is the right place: docservice check --accept-store"


def root_of(settings: Settings) -> Path:
    return Path(settings.blob_url.removeprefix("file://"))


@contextmanager
def not_mounted(settings: Settings) -> Iterator[None]:
    """In place of the store's volume is the empty folder on which it is mounted."""
    root = root_of(settings)
    away = root.rename(root.with_name("volume"))
    root.mkdir()
    yield
    assert list(root.iterdir()) == [], "nothing was stored below the mount"
    root.rmdir()
    away.rename(root)


def test_a_volume_that_is_not_mounted_fails_no_document_and_takes_none(settings: Settings) -> None:
    away = f"the store in {settings.blob_url} is away: it has no file {MARKER}"

    async def walk() -> list[object]:
        async with bench(settings) as made:
            mail, deleted = await made.add(sample_mail(1)), await made.add(sample_mail(2))
            key = (await made.documents.get(deleted) or {})["blob_key"]
            store = BlobStore(settings.blob_url, marked=True)
            await store.write(store.new_key(datetime.now(UTC).date()), b"x")
            with not_mounted(settings):
                for _ in range(4):
                    with pytest.raises(TryAgainError, match=away):
                        await made.worker.process(mail)
                    await made.end_waits()
                for refused in (
                    store.write(store.new_key(datetime.now(UTC).date()), b"x"),  # the folder of today is gone
                    store.write(store.new_key(datetime.now(UTC).date()), b"x"),  # and is not made
                    store.delete(key),
                    store.size(key),
                    anext(store.chunks(key)),
                ):
                    with pytest.raises(BlobError):
                        await refused
                with pytest.raises(BlobsAwayError, match=away):
                    await store.check()
                with pytest.raises(BlobError) as at_start:
                    await identify(store, made.database)
            await store.write(store.new_key(datetime.now(UTC).date()), b"x")
            await identify(store, made.database)
            return [str(at_start.value), await made.state(mail), await made.worker.process(mail)]

    refusal = f"has no file {MARKER}, so it is another place, or a volume that is not mounted{ACCEPT}"
    assert asyncio.run(walk()) == [
        f"DOCSERVICE_BLOB_URL: {settings.blob_url} {refusal}",
        ("received", None),
        Result.PROCESSED,
    ]


def test_a_store_that_was_used_before_stores_were_marked_is_taken_where_it_has_files_of_the_database(
    settings: Settings,
) -> None:
    async def walk() -> str:
        async with bench(settings) as made:
            await made.add(sample_mail(1))
            await made.add(sample_mail(2), stored=False)
            (root_of(settings) / MARKER).unlink()
            await made.database.fetch("update file_store set marked_at = null")
            with not_mounted(settings), pytest.raises(BlobError) as refused:
                await identify(made.blobs, made.database)
            await identify(made.blobs, made.database)
            [row] = await made.database.fetch("select identity, marked_at is not null from file_store")
            assert list(row) == [row["identity"], True]
            assert await made.blobs.read_marker() == str(row["identity"])
            return str(refused.value)

    assert asyncio.run(walk()) == (
        f"DOCSERVICE_BLOB_URL: {settings.blob_url} has none of the 2 newest files of the database{ACCEPT}"
    )


def test_the_store_of_another_database_is_taken_only_when_that_is_said(
    settings: Settings, servers: Servers
) -> None:
    async def walk(other: str) -> str:
        async with bench(settings) as first:
            with pytest.raises(BlobError) as refused:
                async with bench(replace(settings, database_url=other)):
                    pass
            async with bench(
                replace(settings, blob_url=settings.blob_url + "-2", database_url=other)
            ) as made:
                await identify(first.blobs, made.database, accept=True)
                await identify(first.blobs, made.database)
            with pytest.raises(BlobError):
                await identify(first.blobs, first.database)
            return str(refused.value)

    with fresh_database(servers) as other:
        # A copy of a database has its store as well, so as this one has that of the template.
        asyncio.run(_execute(other, "update file_store set identity = gen_random_uuid()"))
        assert asyncio.run(walk(other)) == (
            f"DOCSERVICE_BLOB_URL: the store in {settings.blob_url} belongs to another database, by its file"
            f" {MARKER}{ACCEPT}"
        )


@pytest.mark.parametrize("seen_by", ["a look", "time"])
def test_where_the_marker_alone_is_removed_the_same_day_takes_no_more_files(
    seen_by: str, settings: Settings
) -> None:
    async def walk() -> int:
        store = BlobStore(settings.blob_url, marked=True)
        await store.write_marker("own")
        today = datetime.now(UTC).date()
        await store.write(store.new_key(today), b"before")
        (root_of(settings) / MARKER).unlink()
        if seen_by == "a look":  # as the API does every few seconds
            with pytest.raises(BlobsAwayError):
                await store.find()
        else:  # a worker does not
            store._seen -= 60
        with pytest.raises(BlobsAwayError):
            await store.write(store.new_key(today), b"after")
        await store.write_marker("own")
        await store.write(store.new_key(today), b"after")
        return len(await store.keys_of(today))

    assert asyncio.run(walk()) == 2
