"""The bytes of a document as an answer: inert, whatever they are.

A browser saves them and shows nothing: ``attachment``, a type that nothing renders, ``nosniff``, and a policy
that forbids everything to a page that is shown all the same. They are sent as they are read.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/octet-stream"


class Download(Response):
    """An answer with ``size_bytes`` from ``chunks``, to be saved as ``name``.

    Its first chunk is read before the answer begins, so that a file that is missing is answered as such.
    """

    media_type = MEDIA_TYPE

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, name: str, size_bytes: int) -> None:
        super().__init__(
            headers={
                "Content-Length": str(size_bytes),
                "Content-Disposition": disposition(name),
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Cache-Control": "private, no-store",
            }
        )
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and the bytes."""
        del scope, receive
        async with aclosing(self._chunks) as chunks:
            data = await anext(chunks, b"")
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                data = await anext(chunks, b"")
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def disposition(name: str) -> str:
    """The header that has a file saved under ``name``, for old clients in ASCII as well (RFC 6266)."""
    plain = "".join(
        sign if sign.isascii() and sign.isprintable() and sign not in '"\\%' else "_" for sign in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
