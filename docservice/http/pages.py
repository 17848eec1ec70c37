"""The pages for people: the grid under ``/`` and the administrator's console under ``/admin``.

They are files of this package, the same for everybody, and know nothing: everything shown comes from the API,
with the token that the person enters. Nothing is loaded from elsewhere, and no code is inline. AG Grid
Community is shipped unchanged, with its licence beside it.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from docservice.http.compression import MIN_BYTES, accepts_gzip
from docservice.http.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

#: AG Grid's theme has its icons as a font and as images in its style sheet.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}


def add_pages(framework: FastAPI) -> None:
    """Add the pages and their files."""
    add: Callable[..., Any] = framework.add_api_route
    add("/", _page("grid.html"), include_in_schema=False)
    add("/admin", _page("admin.html"), include_in_schema=False)

    def static(request: Request, name: str) -> Response:
        if name not in files() or name.endswith(".html"):
            raise ApiError(404, "Not Found")
        return _answer(request, name)

    add("/static/{name}", static, include_in_schema=False)


def _page(name: str) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        return _answer(request, name)

    return page


def _answer(request: Request, name: str) -> Response:
    file = files()[name]
    headers = dict(_HEADERS)
    if packed := file.packed is not None and accepts_gzip(dict(request.scope["headers"])):
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    headers["ETag"] = tag = file.packed_tag if packed else file.tag
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if tag in known:
        return Response(status_code=304, headers=headers)
    body = file.packed if packed else file.body
    return Response(body, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


class File(NamedTuple):
    """A file as it is and, where that is worth it, packed by gzip: two answers with an ETag each."""

    body: bytes
    packed: bytes | None
    tag: str
    packed_tag: str


@cache
def files() -> dict[str, File]:
    """The files by name: read and packed once, so that a path never leads to the disk."""
    found = {}
    for one in (resources.files("docservice.http") / "static").iterdir():
        if one.name.rpartition(".")[2] in _TYPES:
            body = one.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:20]
            packed = gzip.compress(body, mtime=0) if len(body) >= MIN_BYTES else None
            found[one.name] = File(body, packed, f'"{digest}"', f'"{digest}-gzip"')
    return found
