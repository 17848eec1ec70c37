"""A file is on the disk before its upload is acknowledged."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from docservice.ingest.blobs import BlobError, BlobWriter

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unsafe(io.BytesIO):
    """A file whose disk refuses to synchronize: its number is that of a pipe."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def fileno(self) -> int:
        return self._number


class Files:
    """A file system with that file."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def makedirs(self, _path: str, **_: Any) -> None:
        return None

    def open(self, _path: str, _mode: str) -> io.BytesIO:
        return self._file


@pytest.fixture
def pipe() -> Iterator[int]:
    ends = os.pipe()
    yield ends[1]
    for end in ends:
        os.close(end)


def test_a_disk_that_does_not_synchronize_fails_the_upload(pipe: int) -> None:
    async def walk() -> None:
        writer = BlobWriter(Files(Unsafe(pipe)), "2026-01-01/x")
        await writer.write(b"data")
        with pytest.raises(BlobError, match="a blob cannot be stored"):
            await writer.close()

    asyncio.run(walk())


def test_a_store_without_file_numbers_confirms_when_it_closes() -> None:
    async def walk() -> bool:
        file = io.BytesIO()  # its fileno() is unsupported
        writer = BlobWriter(Files(file), "2026-01-01/x")
        await writer.write(b"data")
        await writer.close()
        return file.closed

    assert asyncio.run(walk())
