"""Files that no document refers to are removed, and none that is being uploaded."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docservice.domain.documents import DocumentType
from docservice.ingest.blob_errors import BlobError
from docservice.ingest.blobs import MARKER
from docservice.ingest.orphans import ORPHAN_LOCK, OrphanRemover, remove_orphans, seconds_until_hour
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from docservice.config import Settings


def test_files_without_a_document_are_removed_however_old_and_never_while_they_may_be_uploaded(
    settings: Settings,
) -> None:
    async def walk() -> tuple[int, list[str]]:
        async with bench(settings) as made:
            kept = await made.add(b"t", DocumentType.TEXT)
            row = await made.documents.get(kept) or {}
            now = datetime.now(UTC)
            today = now.date()
            await made.blobs.write(made.blobs.new_key(today), b"orphan")
            for hours in (0, 24):  # an upload that began before midnight may still run
                assert await remove_orphans(made.blobs, made.documents, now + timedelta(hours=hours)) == 0
            removed = await remove_orphans(made.blobs, made.documents, now + timedelta(days=30))
            left = await made.blobs.keys_of(today)
            return removed, [key for key in left if key != row["blob_key"]]

    assert asyncio.run(walk()) == (1, [])


def leave(root: Path, day: str) -> None:
    """An orphan that cannot be removed as a file, another one, and a file that is no blob."""
    (root / day / ("0" * 32)).mkdir(parents=True)
    (root / day / ("1" * 32)).touch()
    (root / day / ".nfs01").touch()


def test_an_orphan_that_cannot_be_removed_keeps_no_other_and_what_is_no_blob_stays(
    settings: Settings,
) -> None:
    root = Path(settings.blob_url.removeprefix("file://"))
    leave(root, "2026-01-01")

    async def walk() -> list[str]:
        async with bench(settings) as made:
            with pytest.raises(BlobError, match=r"^1 orphans are removed and 1 are not: blob 2026-01-01/0"):
                await remove_orphans(made.blobs, made.documents, datetime(2026, 12, 31, tzinfo=UTC))
            return await made.blobs.keys_of(date(2026, 1, 1))

    left = asyncio.run(walk())
    assert (left, sorted(path.name for path in root.rglob("*"))) == (
        [f"2026-01-01/{'0' * 32}"],
        [".nfs01", "0" * 32, "2026-01-01", MARKER],
    )


def test_a_daily_run_removes_recent_orphans_in_one_process_alone(settings: Settings) -> None:
    async def walk() -> tuple[list[int | None], list[str]]:
        async with bench(settings) as made:
            now = datetime.now(UTC)
            await made.blobs.write(made.blobs.new_key(now.date()), b"orphan")
            remover = OrphanRemover(made.blobs, made.documents, made.database)
            soon, late = now + timedelta(days=3), now + timedelta(days=30)
            async with made.database.lock(ORPHAN_LOCK) as ours:
                assert ours
                counts = [await remover.remove(soon)]
            counts += [await remover.remove(late), await remover.remove(soon)]
            return counts, await made.blobs.keys_of(now.date())

    assert asyncio.run(walk()) == ([None, 0, 1], [])


@pytest.mark.parametrize(("hour", "seconds"), [(2, 3600), (3, 86_400), (4, 82_800)])
def test_the_daily_run_is_at_the_same_hour_everywhere(hour: int, seconds: int) -> None:
    assert seconds_until_hour(datetime(2026, 12, 31, hour, tzinfo=UTC)) == seconds
