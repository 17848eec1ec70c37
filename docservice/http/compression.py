"""Large answers are compressed with gzip for those who accept it; small ones are not looked at twice.

What is large enough to take time is compressed in a thread, so that no other request waits for it. Pages of a
usual size, files of documents and whatever is encoded already are sent as they are.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Send

MIN_BYTES = 32_768
#: The fastest: the bytes of JSON and CSV shrink to a seventh or less all the same.
_LEVEL = 1
_GZIP_WINDOW = 31
_TYPES = ("application/json", "text/")
_ACCEPTED = re.compile(
    rb"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[0-9.]+\s*)?(?:,|$)", re.IGNORECASE
)
#: Where a `*` accepts whatever else there is.
_REFUSED = re.compile(rb"(?:^|,)\s*gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)", re.IGNORECASE)


def accepts_gzip(headers: Mapping[bytes, bytes]) -> bool:
    """Whether ``Accept-Encoding`` has gzip, and not with a weight of 0."""
    asked = headers.get(b"accept-encoding")
    return asked is not None and _ACCEPTED.search(asked) is not None and _REFUSED.search(asked) is None


class Compressing:
    """Sends an answer, compressed where that is worth it. Use as the ``send`` of one request.

    An answer below ``MIN_BYTES`` passes. One that comes as a whole has a length when it is compressed, too;
    one in several parts is then sent in chunks, or as it is where the client knows no ``chunks``.
    """

    def __init__(self, send: Send, *, accepted: bool, chunks: bool = True) -> None:
        self._send = send
        self._accepted = accepted
        self._chunks = chunks
        self._head: Message | None = None  # held until the first part of the body
        self._packer: zlib._Compress | None = None

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer."""
        if message["type"] == "http.response.start":
            if self._begin(message):
                self._head = message
            else:
                await self._send(message)
            return
        head, self._head = self._head, None
        more = message.get("more_body", False)
        if head is not None and (self._chunks or not more):
            self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        if self._packer is not None:
            pack = self._packer
            message["body"] = await asyncio.to_thread(_packed, pack, message.get("body", b""), last=not more)
        if head is not None:
            if self._packer is not None:
                head["headers"] = _packed_headers(head, None if more else len(message["body"]))
            await self._send(head)
        await self._send(message)

    def _begin(self, message: Message) -> bool:
        """Whether the answer is to be compressed; where others get it so, it says that it varies."""
        for name, value in message["headers"]:
            if name == b"content-length" and int(value) < MIN_BYTES:
                return False
        headers = MutableHeaders(raw=list(message["headers"]))
        if "content-encoding" in headers or not headers.get("content-type", "").startswith(_TYPES):
            return False
        headers.add_vary_header("Accept-Encoding")
        message["headers"] = headers.raw
        return self._accepted


def _packed(packer: zlib._Compress, data: bytes, *, last: bool) -> bytes:
    packed = packer.compress(data)
    return packed + packer.flush() if last else packed


def _packed_headers(head: Message, length: int | None) -> list[tuple[bytes, bytes]]:
    headers = MutableHeaders(raw=list(head["headers"]))
    headers["content-encoding"] = "gzip"
    del headers["content-length"]
    if length is not None:
        headers["content-length"] = str(length)
    return headers.raw
