"""Where document files are stored: any file system of fsspec, under one root.

Keys are made here, of a date and random digits; nothing that a caller wrote is ever part of one. A blob is
complete and on the disk, its folder entry included, before its upload is acknowledged.

A file of the root, :data:`MARKER`, tells the store from the empty folder that a volume is mounted on: without
it nothing is missing and nothing is stored, the store is away.
"""

from __future__ import annotations

import io
import math
import re
import time
import uuid
from contextlib import aclosing, contextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any

import fsspec

from docservice.ingest.blob_errors import (
    BlobError,
    BlobMissingError,
    BlobsAwayError,
    BlobsHangError,
    reason,
)
from docservice.ingest.blob_writer import BlobWriter
from docservice.ingest.bounded_calls import BoundedCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

#: Holds the identity of the store; ``store_identity`` writes it.
MARKER = "docservice-store-id"
#: How long a call may take where nobody says so.
CALL_SECONDS = 30.0
_MAX_MARKER_BYTES = 200
#: For so long a new file is stored without another look for the marker.
_SEEN_SECONDS = 5.0
_CHUNK_BYTES = 1 << 18
_KEY = re.compile(r"\d{4}-\d{2}-\d{2}/[0-9a-f]{32}", re.ASCII)


def is_key(text: str) -> bool:
    """Whether it is a key of a blob."""
    return _KEY.fullmatch(text) is not None


class BlobStore:
    """Blobs under the root that ``url`` names. A call that takes longer than ``seconds`` is given up.

    A ``marked`` store is away while it lacks its marker. Every method that waits raises BlobsHangError where
    the store does not answer in time.
    """

    def __init__(self, url: str, *, seconds: float = CALL_SECONDS, marked: bool = False) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise BlobError(f"DOCSERVICE_BLOB_URL cannot be used: {fault}") from fault
        self._call = BoundedCalls(self.place, seconds=seconds)
        self._marked = marked
        self._folder = ""  # of a day, where this process stored last
        self._seen = -math.inf  # monotonic seconds: when the marker was seen last

    @property
    def stuck(self) -> bool:
        """Whether so many calls hang that every other one fails at once, until some of them return."""
        return self._call.stuck

    def new_key(self, day: date) -> str:
        """A key that no other blob has."""
        return f"{day.isoformat()}/{uuid.uuid4().hex}"

    def writer(self, key: str) -> BlobWriter:
        """A writer of a new blob."""
        path = self._path(key)
        return BlobWriter(self._call, lambda: self._open_new(path), lambda: self._files.rm_file(path))

    async def write(self, key: str, data: bytes) -> None:
        """Store a blob as a whole.

        Raises:
            BlobNotStoredError: when it cannot be stored.
        """
        writer = self.writer(key)
        try:
            for start in range(0, len(data), _CHUNK_BYTES):
                await writer.write(data[start : start + _CHUNK_BYTES])
            await writer.close()
        except BaseException:
            await writer.abandon()
            raise

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        """The bytes of a blob.

        Raises:
            BlobError: when it cannot be read, or has more than ``max_bytes``.
        """
        data = io.BytesIO()  # gives its bytes without a copy
        try:
            async with aclosing(self.chunks(key)) as chunks:
                async for chunk in chunks:
                    if data.write(chunk) and data.tell() > max_bytes:
                        raise BlobError(f"blob {key} has more than {max_bytes} bytes")
        except MemoryError as fault:
            raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault
        return data.getvalue()

    async def chunks(self, key: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob, in pieces.

        Raises:
            BlobMissingError: when there is none.
            BlobError: when it cannot be read.
        """
        blob = await self._call(self._open, key)
        try:
            while data := await self._call(_next_chunk, blob, key):
                yield data
        except BlobsHangError:
            blob = None  # the call that hangs still uses it
            raise
        finally:
            if blob is not None:
                await self._call(blob.close)

    def _open(self, key: str) -> Any:
        path = self._path(key)
        try:
            return self._files.open(path, "rb")
        except FileNotFoundError as fault:
            raise self._missing(key) from fault
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault

    def _open_new(self, path: str) -> Any:
        """A new file, where the store was seen to be there within seconds; its folder is made once a day.

        Where a volume is not mounted, today has no folder yet and none is made.
        """
        folder = path.rsplit("/", 1)[0]
        try:
            if time.monotonic() - self._seen > _SEEN_SECONDS or folder != self._folder:
                self._require_marker()
            if folder != self._folder:
                self._files.makedirs(folder, exist_ok=True)
            blob = self._files.open(path, "wb")
        except BaseException:
            self._folder = ""
            raise
        self._folder = folder
        return blob

    def _missing(self, key: str) -> BlobError:
        """The fault where a blob was not found."""
        try:
            self._require_marker()
        except BlobError as away:
            return away
        return BlobMissingError(f"there is no blob {key}")

    async def read_marker(self) -> str | None:
        """The identity that the store has; None where it has none.

        Raises:
            BlobError: when the store does not answer.
        """
        return await self._call(self._read_marker)

    def _read_marker(self) -> str | None:
        with self._permitted("nothing can be read"):
            try:
                with self._files.open(f"{self._root}/{MARKER}", "rb") as file:
                    return bytes(file.read(_MAX_MARKER_BYTES)).decode("ascii", "replace").strip()
            except FileNotFoundError:
                return None

    async def write_marker(self, identity: str) -> None:
        """Give the store that identity; makes its root.

        Raises:
            BlobError: when that does not succeed.
        """
        await self._call(self._write_marker, identity)

    def _write_marker(self, identity: str) -> None:
        with self._permitted("nothing can be stored"):
            self._store(MARKER, identity.encode("ascii") + b"\n")

    async def find(self) -> None:
        """Pass when the store is there.

        Raises:
            BlobsAwayError: when it lacks its marker.
            BlobError: when it does not answer.
        """
        await self._call(self._require_marker)

    def _require_marker(self) -> None:
        if self._marked and self._read_marker() is None:
            self._seen = -math.inf  # the next upload looks, too
            raise BlobsAwayError(f"the store in {self.place} is away: it has no file {MARKER}")
        self._seen = time.monotonic()

    async def size(self, key: str) -> int | None:
        """The bytes of a blob; None when there is none.

        Raises:
            BlobError: when the store does not answer.
        """
        path = self._path(key)
        try:
            found = await self._call(self._files.info, path)
        except FileNotFoundError:
            await self._call(self._require_marker)
            return None
        except BlobError:
            raise
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
            await self._call(self._files.rm_file, path)
        except FileNotFoundError:
            await self._call(self._require_marker)  # else it is there when the store is back
        except BlobError:
            raise
        except Exception as fault:
            raise BlobError(f"blob {key} cannot be removed ({type(fault).__name__})") from fault

    async def remove(self, key: str) -> None:
        """Remove a blob; nothing happens when there is none, or while a call hangs."""
        if self._call.hanging:
            return  # what stays behind is found by its day
        with suppress(Exception):
            await self._call(self._files.rm_file, self._path(key))

    async def keys_of(self, day: date) -> list[str]:
        """The keys of a day.

        Raises:
            BlobError: when they cannot be listed.
        """
        return await self._call(self._keys_of, day)

    async def days(self) -> list[date]:
        """The days that have blobs.

        Raises:
            BlobError: when they cannot be listed.
        """
        return await self._call(self._days)

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
        return sorted(key for key in keys if is_key(key))  # what others left there is theirs

    @property
    def place(self) -> str:
        """Where the blobs are, without the credentials that its URL may have."""
        kinds = self._files.protocol
        kind = kinds if isinstance(kinds, str) else kinds[0]
        return f"{kind}://{self._root}"

    async def check(self) -> None:
        """Write, read and remove one blob.

        Raises:
            BlobsAwayError: when the store lacks its marker.
            BlobError: when that does not succeed.
        """
        await self._call(self._check)

    def _check(self) -> None:
        self._require_marker()
        name = f"check-{uuid.uuid4().hex}"
        with self._permitted("nothing can be stored"):
            self._store(name, b"ok")
        with self._permitted("what is stored cannot be read"):
            self._files.cat_file(f"{self._root}/{name}")
        with self._permitted("nothing can be removed"):
            self._files.rm_file(f"{self._root}/{name}")

    def _store(self, name: str, data: bytes) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(f"{self._root}/{name}", data)

    @contextmanager
    def _permitted(self, what: str) -> Iterator[None]:
        """A fault within the block is reported as that, with what to do."""
        try:
            yield
        except Exception as fault:
            raise BlobError(
                f"DOCSERVICE_BLOB_URL: {what} in {self.place} ({reason(fault)});"
                " give a place that this user may read and write"
            ) from fault

    def _path(self, key: str) -> str:
        if not is_key(key):
            raise BlobError(f"{key[:80]!r} is no key of a blob")
        return f"{self._root}/{key}"


def _next_chunk(blob: Any, key: str) -> bytes:
    try:
        data: bytes = blob.read(_CHUNK_BYTES)
    except Exception as fault:
        raise BlobError(f"blob {key} cannot be read ({type(fault).__name__})") from fault
    return data
