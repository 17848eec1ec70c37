"""A backup is one moment of rows and files, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from docservice.backup.copying import copy_files
from docservice.backup.programs import BackupError
from docservice.backup.store import Manifest, Store
from docservice.backup.take import take
from docservice.cli.main import main
from docservice.domain.documents import DocumentType
from docservice.ingest.blobs import BlobStore
from docservice.ingest.orphans import remove_orphans
from docservice.ingest.store_identity import identify
from docservice.postgres.backups import BackupRunningError, Backups, StoredFile
from docservice.postgres.bulk import Bulk
from tests.docservice.conftest import fresh_database
from tests.docservice.ingest.insides import bench

if TYPE_CHECKING:
    from docservice.config import Settings
    from tests.docservice.conftest import Servers

NOW = datetime(2026, 11, 26, 20, 0, 0, tzinfo=UTC)


def test_only_the_owner_of_a_backup_can_enter_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "backups")
    store.new(NOW)
    store.new(NOW + timedelta(seconds=1))
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*")} == dict.fromkeys(
        ("backups", "blobs", "2026-11-26T20-00-00Z", "2026-11-26T20-00-01Z"), "0o700"
    )


def test_a_backup_is_not_complete_before_all_of_it_is_on_the_disk(tmp_path: Path) -> None:
    backup = Store(tmp_path / "store").new(NOW)
    backup.write_files([])
    backup.dump.symlink_to("/dev/null")  # which does not synchronize
    with pytest.raises(BackupError, match="cannot be written to the disk"):
        backup.write_manifest(Manifest(taken_at="", version="", documents=0, files=0, bytes=0))
    assert not backup.complete


def test_what_a_store_has_of_a_file_stays_where_there_is_no_other_copy(tmp_path: Path) -> None:
    key = f"2026-01-01/{'0' * 32}"

    async def walk() -> tuple[list[str], bytes]:
        source, target = (BlobStore(f"file://{tmp_path / name}") for name in ("source", "target"))
        await target.write(key, b"half a fi")
        done = await copy_files([StoredFile(key=key, size_bytes=11, sha256="s")], source, target)
        return done.missing, await target.read(key, max_bytes=100)

    assert asyncio.run(walk()) == ([key], b"half a fi")


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_folder_of_backups_that_hangs_is_given_up_after_the_time_that_the_line_names(
    settings: Settings, servers: Servers, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "store"
    environment = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": servers.redis.url,
        "DOCSERVICE_BLOB_URL": settings.blob_url,
        "DOCSERVICE_BLOB_SECONDS": "3",
    }

    async def prepare() -> None:
        async with bench(settings) as made:
            await identify(made.blobs, made.database)
            await made.add(b"one", DocumentType.TEXT)
            if command == "restore":
                await take(
                    database=made.database,
                    url=settings.database_url,
                    blobs=made.blobs,
                    store=Store(folder),
                    now=NOW,
                )

    asyncio.run(prepare())
    [file] = [path for path in Path(settings.blob_url[7:]).glob("*/*") if path.is_file()]
    hangs = folder / "blobs" / file.parent.name / file.name
    hangs.parent.mkdir(parents=True, exist_ok=True)
    hangs.unlink(missing_ok=True)
    os.mkfifo(hangs)
    with fresh_database(servers, template="template1") as empty:
        where = {"DATABASE_URL": empty, "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/new"}
        environment |= where if command == "restore" else {}
        done = CliRunner(env=environment).invoke(main, [command, str(folder)])
    line = f"docservice: the store in file://{folder}/blobs does not answer within 3 s;"
    line += " see whether its server runs, or raise DOCSERVICE_BLOB_SECONDS\n"
    assert (done.exit_code, done.stderr) == (1, line)


def test_no_file_is_removed_while_a_backup_runs_and_all_are_afterwards(settings: Settings) -> None:
    async def walk() -> list[int]:
        async with bench(settings) as made:
            deleted = await made.add(b"deleted", DocumentType.TEXT)
            await made.blobs.write(made.blobs.new_key(datetime.now(UTC).date()), b"orphan")
            later = datetime.now(UTC) + timedelta(days=30)
            async with Backups(made.database).files_kept():
                await Bulk(made.database).delete(deleted, "mail")
                removed = [
                    await made.remover().remove_files(),
                    await remove_orphans(made.blobs, made.documents, later),
                ]
            return [
                *removed,
                await made.remover().remove_files(),
                await remove_orphans(made.blobs, made.documents, later),
            ]

    assert asyncio.run(walk()) == [0, 0, 1, 1]


def test_one_backup_of_a_database_runs_at_a_time(settings: Settings) -> None:
    async def walk() -> str:
        async with bench(settings) as made, Backups(made.database).files_kept():
            with pytest.raises(BackupRunningError) as caught:
                async with Backups(made.database).files_kept():
                    pass
            return str(caught.value)

    assert asyncio.run(walk()) == "another backup of this database runs; try again later"


def test_a_second_backup_copies_new_files_only_and_an_older_one_goes_with_the_files_that_it_alone_had(
    settings: Settings, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")

    async def walk() -> list[tuple[int, int, int, int]]:
        async with bench(settings) as made:

            async def again(minutes: int, keep: int | None) -> tuple[int, int, int, int]:
                taken = await take(
                    database=made.database,
                    url=settings.database_url,
                    blobs=made.blobs,
                    store=store,
                    now=NOW + timedelta(minutes=minutes),
                    keep=keep,
                )
                files = list((tmp_path / "store/blobs").glob("*/*"))
                return taken.manifest.documents, taken.copied, taken.removed, len(files)

            first = await made.add(b"one", DocumentType.TEXT)
            await made.add(b"two", DocumentType.TEXT)
            found = [await again(0, None)]
            await Bulk(made.database).delete(first, "mail")
            await made.remover().remove_files()
            await made.add(b"three", DocumentType.TEXT)
            return [*found, await again(1, None), await again(2, 2)]

    # documents, files copied, backups removed, files in the store
    assert asyncio.run(walk()) == [(2, 2, 0, 2), (2, 1, 0, 3), (2, 0, 1, 2)]
    assert [one.name for one in store.all()] == ["2026-11-26T20-01-00Z", "2026-11-26T20-02-00Z"]


def test_a_file_that_is_lost_or_changed_is_named_and_the_rest_is_kept(
    settings: Settings, tmp_path: Path
) -> None:
    async def walk() -> list[str]:
        async with bench(settings) as made:
            keys = []
            for number in range(3):
                row = await made.documents.get(await made.add(b"%d" % number, DocumentType.TEXT)) or {}
                keys.append(row["blob_key"])
            await made.blobs.delete(keys[0])
            await made.blobs.delete(keys[1])
            await made.blobs.write(keys[1], b"?")
            return keys

    lost, changed, good = asyncio.run(walk())
    environment = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",  # none is needed
        "DOCSERVICE_BLOB_URL": settings.blob_url,
    }
    done = CliRunner(env=environment).invoke(main, ["backup", str(tmp_path / "store")])
    (manifest,) = (tmp_path / "store").glob("*/manifest.json")
    named = ", ".join(sorted((lost, changed)))
    assert done.exit_code == 1
    assert done.stderr == (
        f"docservice: 2 files ({named}) could not be read from the store of blobs, or differ from their"
        f" checksum; all are under `missing` in {manifest}\n"
    )
    assert json.loads(manifest.read_text())["missing"] == sorted((lost, changed))
    assert [path.name for path in (tmp_path / "store/blobs").glob("*/*")] == [Path(good).name]


def test_a_backup_through_a_pooler_is_refused_before_anything_connects() -> None:
    environment = {
        "DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/d",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_POOLER": "transaction",
    }
    done = [CliRunner(env=environment).invoke(main, [word, "/nowhere"]) for word in ("backup", "restore")]
    line = "docservice: DATABASE_POOLER must be none here: give DATABASE_URL of the Postgres server itself\n"
    assert [(one.exit_code, one.stderr) for one in done] == [(2, line)] * 2
