"""Exports of grids as CSV: written to a temporary file first, then sent at the client's pace.

While Postgres writes, an export holds a connection of a small pool of its own, for a bounded time. While the
client reads it holds none: a slow reader costs a file and nothing else. The number of files and the size of
each are bounded too.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO, TYPE_CHECKING

from docservice.http.errors import ApiError
from docservice.log import logger

if TYPE_CHECKING:
    from starlette.types import Send

    from docservice.domain.grid.query import GridQuery
    from docservice.postgres.grids import Grids

_CHUNK_BYTES = 1 << 18
_WRITE_BYTES = 1 << 20


class _File:
    """A temporary file of at most ``max_bytes`` that is written in large pieces, off the event loop."""

    def __init__(self, file: IO[bytes], *, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.bytes = 0
        self._waiting = bytearray()

    async def write(self, data: bytes) -> None:
        """Append some bytes.

        Raises:
            ApiError: 422 when the file would be larger than allowed, 503 when it cannot be written. No
                OSError: within a statement that would be Postgres not answering.
        """
        self.bytes += len(data)
        if self.bytes > self._max_bytes:
            raise ApiError(
                422,
                f"the export is larger than {self._max_bytes} bytes; narrow the query down",
                code="export_too_large",
            )
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES:
            await self._write()

    async def rewind(self) -> None:
        """Write what is left and go back to the start."""
        await self._write()
        self._file.seek(0)

    async def read(self) -> bytes:
        """The next chunk; empty at the end."""
        return await asyncio.to_thread(self._file.read, _CHUNK_BYTES)

    async def _write(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        try:
            await asyncio.to_thread(self._write_through, data)
        except OSError as fault:
            raise _not_written(fault) from fault

    def _write_through(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # the file is not buffered: a full disk is a fault of this write, not of its close
            rest = rest[self._file.write(rest) :]


def _opened() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="docservice-export-", buffering=0)
    except OSError as fault:
        raise _not_written(fault) from fault


def _not_written(fault: OSError) -> ApiError:
    logger("exports").error("export.not_written", fault=str(fault))
    return ApiError(
        503, "an export's temporary file cannot be written; the log says why", headers={"Retry-After": "5"}
    )


class Exports:
    """Sends exports: ``max_open`` at once, each of at most ``seconds`` in Postgres and ``max_bytes``."""

    def __init__(
        self, grids: Grids, *, seconds: float, idle_seconds: float, max_bytes: int, max_open: int = 8
    ) -> None:
        self._grids = grids
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._max_bytes = max_bytes
        self._max_open = max_open
        self._open = 0

    async def send(self, query: GridQuery, name: str, send: Send) -> None:
        """Answer with all rows of a query as the file ``name``.

        Raises:
            ApiError: 503 when too many exports are open or its file cannot be written, 422 when it is too
                large.
            StoreUnavailableError: when Postgres does not answer, or has no connection for exports in time.
            StoreTimeoutError: when Postgres takes longer than ``seconds``.
        """
        if self._open >= self._max_open:
            raise ApiError(
                503, "too many exports are under way; try again", code="busy", headers={"Retry-After": "5"}
            )
        self._open += 1
        try:
            with _opened() as file:
                spool = _File(file, max_bytes=self._max_bytes)
                await self._grids.export(query, spool.write, seconds=self._seconds)
                await spool.rewind()
                await self._send_file(spool, name, send)
        finally:
            self._open -= 1

    async def _send_file(self, spool: _File, name: str, send: Send) -> None:
        headers = [
            (b"content-type", b"text/csv; charset=utf-8"),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % spool.bytes),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while data := await spool.read():
            async with asyncio.timeout(self._idle_seconds):  # a client that stops reading is disconnected
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
