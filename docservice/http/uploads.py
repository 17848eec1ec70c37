"""Reads the files of a multipart body into the store of blobs as they arrive, never a whole file in memory.

All of them are stored or none. The type of a file is detected from its first bytes, not from what the client
says. Everything is bounded: files, bytes of a file, and the bytes around them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from docservice.domain import mail_number
from docservice.domain.documents import NewDocument, file_name
from docservice.http.errors import ApiError
from docservice.ingest.extract.sniff import SNIFFED_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from docservice.ingest.blob_writer import BlobWriter
    from docservice.ingest.blobs import BlobStore

_WRITE_BYTES = 1 << 20
_MAX_FIELDS = 10
#: Bytes of a body beside the contents of its parts: boundaries, headers, what precedes and follows the parts.
_FRAME_BYTES = 16_384
_PART_FRAME_BYTES = 8192
_MAX_FIELD_BYTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How much one upload may contain."""

    files: int
    file_bytes: int


@dataclass(slots=True)
class _Part:
    """One part of the body, as far as it has arrived."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file_name: str | None = None
    size: int = 0
    waiting: bytearray = field(default_factory=bytearray)
    head: bytes = b""
    digest: Any = field(default_factory=hashlib.sha256)
    key: str = ""
    writer: BlobWriter | None = None


class UploadReader:
    """Reads one body. :meth:`abandon` removes what it stored."""

    def __init__(self, *, module: str, content_type: str, blobs: BlobStore, limits: UploadLimits) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ApiError(415, "a body of Content-Type: multipart/form-data with a boundary is needed")
        self._module = module
        self._blobs = blobs
        self._limits = limits
        self._events: list[tuple[str, bytes]] = []
        self._part = _Part()
        self._header = b""
        self._fields: dict[str, str] = {}
        self._stored: list[tuple[_Part, str]] = []
        self._keys: list[str] = []
        self._ended = False
        self._received = self._taken = self._parts = 0
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as fault:
            raise ApiError(415, "the boundary of the multipart body is not legal") from fault

    async def read(self, stream: AsyncIterator[bytes]) -> list[NewDocument]:
        """The documents of the body; their files are stored.

        Raises:
            ApiError: 413 for what is too large, 422 for what is not legal.
            BlobError: when they cannot be stored.
        """
        async for chunk in stream:
            self._received += len(chunk)
            self._feed(chunk)
            await self._handle()
            if self._received - self._taken > _FRAME_BYTES + self._parts * _PART_FRAME_BYTES:
                raise ApiError(413, "the body has too many bytes outside its files")
        if not self._ended:
            raise ApiError(422, "the multipart body ended before its last boundary")
        if not self._stored:
            raise ApiError(422, "the body has no file; send each as a part with a filename")
        number = self._mail_number()
        return [
            NewDocument(
                module=self._module,
                document_type=(content := sniff(part.head)).document_type,
                file_name=name,
                content_type=content.content_type,
                size_bytes=part.size,
                sha256=part.digest.hexdigest(),
                blob_key=part.key,
                mail_number=number,
            )
            for part, name in self._stored
        ]

    async def abandon(self) -> None:
        """Remove the files of this body."""
        if self._part.writer is not None:
            await self._part.writer.abandon()
        for key in self._keys:
            await self._blobs.remove(key)

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as fault:
            raise ApiError(422, "the multipart body is malformed") from fault

    def _callbacks(self) -> Any:
        def mark(name: str) -> Any:
            return lambda: self._events.append((name, b""))

        def data(name: str) -> Any:
            return lambda chunk, start, end: self._events.append((name, chunk[start:end]))

        return {
            "on_part_begin": mark("begin"),
            "on_header_field": data("header_field"),
            "on_header_value": data("header_value"),
            "on_header_end": mark("header_end"),
            "on_headers_finished": mark("headers"),
            "on_part_data": data("data"),
            "on_part_end": mark("part_end"),
            "on_end": mark("end"),
        }

    async def _handle(self) -> None:
        events, self._events = self._events, []
        value = b""
        for name, data in events:
            match name:
                case "begin":
                    self._part = _Part()
                    self._parts += 1
                    if self._parts > self._limits.files + _MAX_FIELDS:
                        raise ApiError(413, f"a request has at most {self._limits.files} files")
                    self._header = b""
                case "header_field":
                    self._header += data
                case "header_value":
                    value = self._part.headers.get(self._header.lower(), b"") + data
                    self._part.headers[self._header.lower()] = value
                case "header_end":
                    self._header = b""
                case "headers":
                    self._begin_part()
                case "data":
                    await self._take(data)
                case "part_end":
                    await self._end_part()
                case _:
                    self._ended = True

    def _begin_part(self) -> None:
        disposition, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        if disposition != b"form-data":
            raise ApiError(422, "every part needs Content-Disposition: form-data")
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            if self._part.name != "mail_number":
                raise ApiError(422, "the only field beside files is mail_number")
            if self._part.name in self._fields:
                raise ApiError(422, "mail_number: given more than once")
            return
        if len(self._stored) >= self._limits.files:
            raise ApiError(413, f"a request has at most {self._limits.files} files; send the rest in another")
        self._part.file_name = file_name(options[b"filename"].decode("utf-8", "replace"))
        self._part.key = self._blobs.new_key(datetime.now(UTC).date())
        self._part.writer = self._blobs.writer(self._part.key)

    async def _take(self, data: bytes) -> None:
        part = self._part
        part.size += len(data)
        self._taken += len(data)
        if part.writer is None:
            if part.size > _MAX_FIELD_BYTES:
                raise ApiError(413, f"the field {part.name} has more than {_MAX_FIELD_BYTES} bytes")
            part.waiting += data
            return
        if part.size > self._limits.file_bytes:
            raise ApiError(413, f"the file {part.file_name!r} has more than {self._limits.file_bytes} bytes")
        if len(part.head) < SNIFFED_BYTES:
            part.head += data[: SNIFFED_BYTES - len(part.head)]
        part.digest.update(data)
        part.waiting += data
        if len(part.waiting) >= _WRITE_BYTES:
            await part.writer.write(bytes(part.waiting))
            part.waiting.clear()

    async def _end_part(self) -> None:
        part = self._part
        if part.writer is None:
            try:
                self._fields[part.name] = part.waiting.decode()
            except UnicodeDecodeError as fault:
                raise ApiError(422, f"{part.name}: it is not UTF-8") from fault
            return
        if not part.size:
            raise ApiError(422, f"the file {part.file_name!r} has no bytes")
        await part.writer.write(bytes(part.waiting))
        part.waiting.clear()
        await part.writer.close()
        part.writer = None
        self._keys.append(part.key)
        self._stored.append((part, part.file_name or "unnamed"))

    def _mail_number(self) -> str | None:
        written = self._fields.get("mail_number", "").strip()
        try:
            return mail_number.normalise(written) if written else None
        except mail_number.MailNumberError as fault:
            raise ApiError(422, f"mail_number: {fault}") from fault
