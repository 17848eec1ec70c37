"""Where document files are stored: any file system of fsspec, under one root.

Keys are made here, of a date and random digits; nothing that a caller wrote is ever part of one. A blob is
complete and on the disk, its folder entry included, before its upload is acknowledged.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import uuid
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_CHUNK_BYTES = 1 << 18
_KEY = re.compile(r"\d{4}-\d{2}-\d{2}/[0-9a-f]{32}", re.ASCII)


class BlobError(RuntimeError):
    """The store of blobs does not answer, or lacks a blob; the same call may succeed later."""


class BlobMissingError(BlobError):
    """The store answers, and has no such blob."""


class BlobNotStoredError(BlobError):
    """The store did not take a blob, as when it is full; what was left of it is removed."""


class BlobStore:
    """Blobs under the root that ``url`` names. Calls may block, so the async ones use a thread."""

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise BlobError(f"DOCSERVICE_BLOB_URL cannot be used: {fault}") from fault

    def new_key(self, day: date) -> str:
        """A key that no other blob has."""
        return f"{day.isoformat()}/{uuid.uuid4().hex}"

    def writer(self, key: str) -> BlobWriter:
        """A writer of a new blob."""
        return BlobWriter(self._files, self._path(key))

    async def write(self, key: str, data: bytes) -> None:
        """Store a blob as a whole.

        Raises:
            BlobNotStoredError: when it cannot be stored.
        """
        writer = self.writer(key)
        try:
            await writer.write(data)
            await writer.close()
        except BaseException:
            await writer.abandon()
            raise

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        """The bytes of a blob.

        Raises:
            BlobError: when it cannot be read, or has more than ``max_bytes``.
        """
        return await asyncio.to_thread(self._read, key, max_bytes)

    def _read(self, key: str, max_bytes: int) -> bytes:
        try:
            with self._files.open(self._path(key), "rb") as blob:
                data: bytes = blob.read(max_bytes + 1)
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault
        if len(data) > max_bytes:
            raise BlobError(f"blob {key} has more than {max_bytes} bytes")
        return data

    async def chunks(self, key: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob, in pieces.

        Raises:
            BlobMissingError: when there is none.
            BlobError: when it cannot be read.
        """
        blob = await asyncio.to_thread(self._open, key)
        try:
            while data := await asyncio.to_thread(_next_chunk, blob, key):
                yield data
        finally:
            await asyncio.to_thread(blob.close)

    def _open(self, key: str) -> Any:
        path = self._path(key)
        try:
            return self._files.open(path, "rb")
        except FileNotFoundError as fault:
            raise BlobMissingError(f"there is no blob {key}") from fault
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault

    async def size(self, key: str) -> int | None:
        """The bytes of a blob; None when there is none.

        Raises:
            BlobError: when the store does not answer.
        """
        path = self._path(key)
        try:
            found = await asyncio.to_thread(self._files.info, path)
        except FileNotFoundError:
            return None
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be looked for ({type(fault).__name__})") from fault
        return int(found["size"])

    async def delete(self, key: str) -> None:
        """Remove a blob that may be gone already.

        Raises:
            BlobError: when it cannot be removed.
        """
        path = self._path(key)
        try:
            await asyncio.to_thread(self._files.rm_file, path)
        except FileNotFoundError:
            return
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be removed ({type(fault).__name__})") from fault

    async def remove(self, key: str) -> None:
        """Remove a blob; nothing happens when there is none."""
        with suppress(Exception):  # what stays behind is found by its day
            await asyncio.to_thread(self._files.rm_file, self._path(key))

    async def keys_of(self, day: date) -> list[str]:
        """The keys of a day.

        Raises:
            BlobError: when they cannot be listed.
        """
        return await asyncio.to_thread(self._keys_of, day)

    async def days(self) -> list[date]:
        """The days that have blobs.

        Raises:
            BlobError: when they cannot be listed.
        """
        return await asyncio.to_thread(self._days)

    def _days(self) -> list[date]:
        try:
            names = self._listed(self._root)
        except FileNotFoundError:
            return []
        except Exception as fault:
            raise BlobError(f"the blobs cannot be listed ({type(fault).__name__})") from fault
        found = []
        for name in names:
            with suppress(ValueError):  # not a day's folder
                found.append(date.fromisoformat(name.rstrip("/").rsplit("/", 1)[-1]))
        return sorted(found)

    def _listed(self, folder: str) -> list[str]:
        """The names in a folder as they are now: some file systems, as that of S3, keep listings for ever."""
        self._files.invalidate_cache()
        try:
            names: list[str] = self._files.ls(folder, detail=False)
            return names
        finally:
            self._files.invalidate_cache()

    def _keys_of(self, day: date) -> list[str]:
        folder = f"{self._root}/{day.isoformat()}"
        try:
            names = self._listed(folder)
        except FileNotFoundError:
            return []
        except Exception as fault:
            raise BlobError(f"the blobs of {day} cannot be listed ({type(fault).__name__})") from fault
        keys = (f"{day.isoformat()}/{name.rstrip('/').rsplit('/', 1)[-1]}" for name in names)
        return sorted(key for key in keys if _KEY.fullmatch(key))  # what others left there is theirs

    @property
    def place(self) -> str:
        """Where the blobs are, without the credentials that its URL may have."""
        kinds = self._files.protocol
        kind = kinds if isinstance(kinds, str) else kinds[0]
        return f"{kind}://{self._root}"

    def check(self) -> None:
        """Write and remove one blob.

        Raises:
            BlobError: when that does not succeed.
        """
        path = f"{self._root}/check-{uuid.uuid4().hex}"
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(path, b"ok")
            self._files.rm_file(path)
        except Exception as fault:
            raise BlobError(
                f"DOCSERVICE_BLOB_URL: nothing can be stored in {self.place} ({type(fault).__name__});"
                " give a place that this user may write"
            ) from fault

    def _path(self, key: str) -> str:
        if _KEY.fullmatch(key) is None:
            raise BlobError(f"{key[:80]!r} is no key of a blob")
        return f"{self._root}/{key}"


def _why(fault: Exception) -> str:
    """The fault in the words of the system, such as ``No space left on device``; they name no path."""
    return getattr(fault, "strerror", None) or type(fault).__name__


def _next_chunk(blob: Any, key: str) -> bytes:
    try:
        data: bytes = blob.read(_CHUNK_BYTES)
    except Exception as fault:
        raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault
    return data


def _sync(blob: Any) -> None:
    """Write a local file and its folder's entry to the disk; other stores confirm when they close.

    Raises:
        OSError: when the disk reports a fault. The file is then not safe, whatever is written later.
    """
    try:
        number = blob.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return
    os.fsync(number)
    name = getattr(blob, "name", None)
    if isinstance(name, str):
        day = Path(name).parent
        for folder in (day, day.parent):  # the file's entry, and that of a folder that is new today
            entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)


class BlobWriter:
    """Writes one blob in pieces. It exists once :meth:`close` has returned."""

    def __init__(self, files: Any, path: str) -> None:
        self._files = files
        self._path = path
        self._blob: Any = None

    async def write(self, data: bytes) -> None:
        """Add some bytes.

        Raises:
            BlobNotStoredError: when they cannot be stored.
        """
        await asyncio.to_thread(self._write, data)

    async def close(self) -> None:
        """Bring the blob to the disk.

        Raises:
            BlobNotStoredError: when that fails.
        """
        await asyncio.to_thread(self._close)

    async def abandon(self) -> None:
        """Leave nothing behind."""
        await asyncio.to_thread(self._abandon)

    def _write(self, data: bytes) -> None:
        try:
            if self._blob is None:
                self._files.makedirs(self._path.rsplit("/", 1)[0], exist_ok=True)
                self._blob = self._files.open(self._path, "wb")
            self._blob.write(data)
        except Exception as fault:
            raise BlobNotStoredError(f"a blob cannot be stored ({_why(fault)})") from fault

    def _close(self) -> None:
        self._write(b"")
        try:
            self._blob.flush()
            _sync(self._blob)
            self._blob.close()
        except Exception as fault:
            raise BlobNotStoredError(f"a blob cannot be stored ({_why(fault)})") from fault

    def _abandon(self) -> None:
        if self._blob is not None:
            with suppress(Exception):  # on a full disk closing fails as writing did
                self._blob.close()
        with suppress(Exception):
            self._files.rm_file(self._path)
