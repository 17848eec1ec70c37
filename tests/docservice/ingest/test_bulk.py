"""The files of deleted documents are removed, whatever is wrong with some of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docservice.domain.documents import DocumentType
from docservice.ingest.blob_errors import BlobError
from docservice.postgres.bulk import Bulk
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from docservice.config import Settings


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_file_that_cannot_be_removed_keeps_no_other(settings: Settings) -> None:
    root = Path(settings.blob_url.removeprefix("file://"))

    async def walk() -> tuple[list[str], str]:
        async with bench(settings) as made:
            bulk, remover = Bulk(made.database), made.remover()
            for _ in range(20):
                await bulk.delete(await made.add(b"text", DocumentType.TEXT), "mail")
            [stuck] = await bulk.removed_blobs(limit=1)
            make_a_folder_of(root / stuck)  # which is not removed as a file
            for _ in range(2):
                with pytest.raises(BlobError, match="cannot be removed"):
                    await remover.remove_files()
            return await bulk.removed_blobs(limit=100), stuck

    left, stuck = asyncio.run(walk())
    assert (left, [path for path in root.glob("*/*") if path.is_file()]) == ([stuck], [])
