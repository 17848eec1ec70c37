"""The folder that backups are kept in, and what one backup consists of.

::

    STORE/blobs/2026-11-26/0c…      files, shared by all backups: a file never changes, so it is copied once
    STORE/2026-11-26T20-52-07Z/     one backup
        database.dump               of pg_dump, in its custom format
        files.tsv                   the files of its documents: key, bytes, SHA-256
        manifest.json               written last: without it the backup is not complete

Everything below ``blobs`` that no backup's ``files.tsv`` names is of no use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from docservice.backup.programs import BackupError
from docservice.ingest.blobs import CALL_SECONDS, BlobStore
from docservice.postgres.backups import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a backup. ``missing``: keys of files that could not be read; times in ISO 8601."""

    taken_at: str
    version: str
    documents: int
    files: int
    bytes: int
    missing: list[str] = field(default_factory=list)


class Backup:
    """One backup in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dump = folder / "database.dump"
        self._files = folder / "files.tsv"
        self._manifest = folder / "manifest.json"

    @property
    def name(self) -> str:
        """The moment at which it was begun, UTC."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Whether it can be restored."""
        return self._manifest.exists()

    def manifest(self) -> Manifest:
        """What is in it.

        Raises:
            BackupError: when the manifest cannot be read.
        """
        try:
            return Manifest(**json.loads(self._manifest.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as fault:
            raise BackupError(f"{self._manifest} cannot be read ({type(fault).__name__})") from fault

    def write_manifest(self, manifest: Manifest) -> None:
        """Make the backup complete, once all of it is on the disk: older ones may be removed at once.

        Raises:
            BackupError: when the disk reports a fault.
        """
        text = json.dumps(asdict(manifest), indent=2) + "\n"
        waiting = self._manifest.with_suffix(".part")
        try:
            waiting.write_text(text, "utf-8")
            for path in (self.dump, self._files, waiting):
                _sync(path)
            waiting.replace(self._manifest)
            for folder in (self.folder, self.folder.parent):  # their entries
                _sync(folder)
        except OSError as fault:
            raise BackupError(f"{self.folder} cannot be written to the disk ({fault.strerror})") from fault

    def remove(self) -> None:
        """Remove it; where that breaks off, it is not complete any more."""
        self._manifest.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def write_files(self, files: list[StoredFile]) -> None:
        """List the files of its documents."""
        with self._files.open("w", encoding="utf-8") as lines:
            lines.writelines(f"{file.key}\t{file.size_bytes}\t{file.sha256}\n" for file in files)

    def files(self) -> Iterator[StoredFile]:
        """The files of its documents.

        Raises:
            BackupError: when the list cannot be read.
        """
        try:
            with self._files.open(encoding="utf-8") as lines:
                for line in lines:
                    key, size, digest = line.rstrip("\n").split("\t")
                    yield StoredFile(key=key, size_bytes=int(size), sha256=digest)
        except (OSError, ValueError) as fault:
            raise BackupError(f"{self._files} cannot be read ({type(fault).__name__})") from fault


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Store:
    """All backups of one folder; a call that takes longer than ``seconds`` is given up."""

    def __init__(self, folder: Path, *, seconds: float = CALL_SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds

    @property
    def blobs(self) -> BlobStore:
        """The files of all backups."""
        return BlobStore(f"file://{self._folder.absolute()}/blobs", seconds=self._seconds)

    def new(self, now: datetime) -> Backup:
        """An empty backup. What is made for it only its owner can enter.

        Raises:
            BackupError: when the folder cannot be written to.
        """
        folder = self._folder / now.strftime("%Y-%m-%dT%H-%M-%SZ")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / "blobs").mkdir(exist_ok=True, mode=0o700)
            folder.mkdir(mode=0o700)
        except OSError as fault:
            raise BackupError(f"{folder} cannot be made ({fault.strerror}); give another folder") from fault
        return Backup(folder)

    def all(self) -> list[Backup]:
        """Every backup, complete or not, the oldest first."""
        try:
            found = sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        except OSError as fault:
            raise BackupError(f"{self._folder} cannot be read ({fault.strerror})") from fault
        return [Backup(path) for path in found]

    def choose(self, name: str | None) -> Backup:
        """The complete backup of that name, or the newest one.

        Raises:
            BackupError: when there is none.
        """
        complete = [one for one in self.all() if one.complete and name in (None, one.name)]
        if not complete:
            names = ", ".join(one.name for one in self.all() if one.complete) or "none"
            raise BackupError(f"{self._folder} has no complete backup {name or ''}; complete: {names}")
        return complete[-1]

    async def prune(self, keep: int) -> int:
        """Remove all but the last ``keep`` complete backups, and the files that only they had.

        Returns the number of removed backups; one that never became complete is removed with those.
        """
        every = self.all()
        kept = [one for one in every if one.complete][-keep:]
        removed = [one for one in every if one not in kept]
        if not removed:
            return 0
        named = {file.key for one in kept for file in one.files()}
        for one in removed:
            one.remove()
        blobs = self.blobs
        for day in await blobs.days():
            for key in await blobs.keys_of(day):
                if key not in named:
                    await blobs.delete(key)
            with suppress(OSError):  # not empty
                (self._folder / "blobs" / day.isoformat()).rmdir()
        return len(removed)
