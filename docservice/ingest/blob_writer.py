"""Writes one blob, so that it is on the disk with its folder's entry before that is said."""

from __future__ import annotations

import asyncio
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docservice.ingest.blob_errors import BlobNotStoredError, BlobsAwayError, BlobsHangError, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from docservice.ingest.bounded_calls import BoundedCalls


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

    def __init__(self, call: BoundedCalls, open_new: Callable[[], Any], remove: Callable[[], None]) -> None:
        self._call = call
        self._open_new = open_new
        self._remove = remove
        self._blob: Any = None
        self._hangs = False

    async def write(self, data: bytes) -> None:
        """Add some bytes.

        Raises:
            BlobNotStoredError: when they cannot be stored.
            BlobsHangError: when that takes too long.
        """
        await self._bounded(self._write, data)

    async def close(self) -> None:
        """Bring the blob to the disk.

        Raises:
            BlobNotStoredError: when that fails.
            BlobsHangError: when it takes too long.
        """
        await self._bounded(self._close)

    async def abandon(self) -> None:
        """Leave nothing behind, unless a call hangs: what that one leaves is found by its day."""
        if not self._hangs:
            with suppress(BlobsHangError):
                await self._bounded(self._abandon)

    async def _bounded(self, work: Callable[..., None], *arguments: bytes) -> None:
        try:
            await self._call(work, *arguments)
        except BlobsHangError:
            self._hangs = True
            raise
        except asyncio.CancelledError:
            self._hangs = self._call.hanging > 0  # it waited as long as a call may take
            raise

    def _write(self, data: bytes) -> None:
        try:
            if self._blob is None:
                self._blob = self._open_new()
            self._blob.write(data)
        except BlobsAwayError:
            raise
        except Exception as fault:
            raise BlobNotStoredError(f"a blob cannot be stored ({reason(fault)})") from fault

    def _close(self) -> None:
        self._write(b"")
        try:
            self._blob.flush()
            _sync(self._blob)
            self._blob.close()
        except Exception as fault:
            raise BlobNotStoredError(f"a blob cannot be stored ({reason(fault)})") from fault

    def _abandon(self) -> None:
        if self._blob is not None:
            with suppress(Exception):  # on a full disk closing fails as writing did
                self._blob.close()
        with suppress(Exception):
            self._remove()
