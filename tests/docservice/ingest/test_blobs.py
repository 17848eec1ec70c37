"""A file is on the disk before its upload is acknowledged."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import resource
import signal
from datetime import date
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from docservice.ingest.blob_errors import BlobError, BlobNotStoredError
from docservice.ingest.blob_writer import BlobWriter
from docservice.ingest.blobs import BlobStore
from docservice.ingest.bounded_calls import BoundedCalls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Unsafe(io.BytesIO):
    """A file whose disk refuses to synchronize: its number is that of a pipe."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def fileno(self) -> int:
        return self._number


@pytest.fixture
def pipe() -> Iterator[int]:
    ends = os.pipe()
    yield ends[1]
    for end in ends:
        os.close(end)


def test_a_disk_that_does_not_synchronize_fails_the_upload(pipe: int) -> None:
    async def walk() -> None:
        writer = BlobWriter(BoundedCalls("file:///x", seconds=30), lambda: Unsafe(pipe), lambda: None)
        await writer.write(b"data")
        with pytest.raises(BlobError, match="a blob cannot be stored"):
            await writer.close()

    asyncio.run(walk())


def _fill_the_disk(folder: str) -> None:
    """In a process of its own: what it may write to a file ends at 50,000 bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    store = BlobStore(f"file://{folder}")

    async def walk() -> None:
        with pytest.raises(BlobNotStoredError):
            await store.write(store.new_key(date(2026, 1, 1)), b"x" * 60_000)
        writer = store.writer(store.new_key(date(2026, 1, 1)))
        await writer.write(b"x" * 49_000)
        await writer.write(b"x" * 2_000)  # held back by this process
        with pytest.raises(BlobNotStoredError):
            await writer.close()
        await writer.abandon()

    asyncio.run(walk())


def test_what_a_full_disk_did_not_take_leaves_nothing_behind(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill_the_disk, args=[str(tmp_path)])
    process.start()
    process.join()
    left = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert (process.exitcode, left) == (0, [])


class Remembering(LocalFileSystem):
    """A file system that keeps listings until they are declared void, as that of S3 does."""

    protocol = "remembering"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.kept: dict[str, Any] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("remembering://")))

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:  # noqa: FBT001, FBT002 - of fsspec
        if path not in self.kept:
            self.kept[path] = super().ls(path, detail=detail, **options)
        return self.kept[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        assert path is None
        self.kept.clear()


def test_days_and_keys_that_another_process_adds_are_listed(tmp_path: Path) -> None:
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    ours, other = BlobStore(f"remembering://{tmp_path}"), BlobStore(f"file://{tmp_path}")

    async def walk() -> list[tuple[int, int]]:
        seen = []
        for day in (date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 2)):
            await other.write(other.new_key(day), b"x")
            seen.append((len(await ours.days()), len(await ours.keys_of(day))))
        return seen

    assert asyncio.run(walk()) == [(1, 1), (2, 1), (2, 2)]


def test_a_store_without_file_numbers_confirms_when_it_closes() -> None:
    async def walk() -> bool:
        file = io.BytesIO()  # its fileno() is unsupported
        writer = BlobWriter(BoundedCalls("file:///x", seconds=30), lambda: file, lambda: None)
        await writer.write(b"data")
        await writer.close()
        return file.closed

    assert asyncio.run(walk())
