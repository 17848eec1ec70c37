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

    An answer of known length below ``MIN_BYTES`` passes; one of unknown length counts as large.
    """

    def __init__(self, send: Send, *, accepted: bool) -> None:
        self._send = send
        self._accepted = accepted
        self._packer: zlib._Compress | None = None

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer."""
        if message["type"] == "http.response.start":
            self._begin(message)
        elif self._packer is not None:
            more = message.get("more_body", False)
            message["body"] = await asyncio.to_thread(self._pack, message.get("body", b""), last=not more)
        await self._send(message)

    def _begin(self, message: Message) -> None:
        for name, value in message["headers"]:
            if name == b"content-length" and int(value) < MIN_BYTES:
                return
        headers = MutableHeaders(raw=list(message["headers"]))
        if "content-encoding" in headers:
            return
        if not headers.get("content-type", "").startswith(_TYPES):
            return
        headers.add_vary_header("Accept-Encoding")
        if self._accepted:
            headers["content-encoding"] = "gzip"
            del headers["content-length"]  # it is sent in chunks
            self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        message["headers"] = headers.raw

    def _pack(self, data: bytes, *, last: bool) -> bytes:
        if self._packer is None:
            return data
        packed = self._packer.compress(data)
        return packed + self._packer.flush() if last else packed
