"""Grids, below the framework: this is the hot path, and a page from the cache takes one round trip.

``GET`` and ``POST /modules/{module}/grid`` and ``GET /modules/{module}/grid.csv``. The answer is put together
from bytes: Postgres' rows, or the cache's, go out as they came.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from docservice.domain.documents import module_name
from docservice.domain.grid.component_body import from_body
from docservice.domain.grid.cursor import cursor_text
from docservice.domain.grid.http_get import from_parameters
from docservice.domain.grid.query import MAX_CONDITIONS, MAX_FILTERS, GridQuery
from docservice.http.auth import bearer, require_module
from docservice.http.context import request_id
from docservice.http.errors import ApiError
from docservice.page_cache import page_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from docservice.http.services import Services
    from docservice.postgres.grids import Page

_MOST_REMEMBERED = 4096
_MOST_REMEMBERED_BYTES = 256
_MOST_QUERY_BYTES = 16_384
_MOST_FIELDS = MAX_FILTERS * MAX_CONDITIONS
_HEAD = b'{"success":true,"message":null,"error":null,"data":'
#: What the head of every page says.
PAGE_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"private, no-store"))
#: The pattern of the route of pages.
PAGE_ROUTE = "/modules/{module}/grid"


def is_grid(path: str) -> bool:
    """Whether a path is one of these routes."""
    return path.startswith("/modules/") and path.endswith(("/grid", "/grid.csv")) and path.count("/") == 3  # noqa: PLR2004 - slashes


class GridRoutes:
    """Answers the grid routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._remembered: OrderedDict[tuple[str, bytes], GridQuery] = OrderedDict()

    async def __call__(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Answer one request; faults are raised, and told by the caller."""
        method, path = scope["method"], scope["path"]
        export = path.endswith(".csv")
        if method not in (("GET",) if export else ("GET", "POST")):
            allowed = "GET" if export else "GET, POST"
            raise ApiError(405, f"{method} is not known here; {allowed} is", headers={"Allow": allowed})
        sha256 = bearer(headers.get(b"authorization"))
        module = module_name(path.split("/")[2])
        if method == "POST":
            query = from_body(module, await _read_json(receive, headers))
        else:
            query = self.parameters(module, scope["query_string"])
        if export:
            await self._export(sha256, query, send)
        else:
            await _send_page(send, *await self.page(sha256, query))

    def parameters(self, module: str, raw: bytes) -> GridQuery:
        """The query of a GET. Parsing is pure, so what was parsed once need not be again.

        Raises:
            ApiError: when it is no query.
            GridError: when it is one that cannot be answered.
        """
        known = self._remembered.get((module, raw))
        if known is not None:
            return known
        if len(raw) > _MOST_QUERY_BYTES:
            raise ApiError(422, f"the query has more than {_MOST_QUERY_BYTES} bytes; use POST")
        try:
            pairs = _fields(raw.decode("ascii"))
        except ValueError as fault:
            raise ApiError(422, "the query is malformed: it is not UTF-8, or has too many fields") from fault
        query = from_parameters(module, pairs)
        if len(raw) <= _MOST_REMEMBERED_BYTES and not query.point:  # hardly ever two for the same number
            self._remembered[module, raw] = query
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return query

    async def page(self, sha256: bytes, query: GridQuery) -> tuple[bytes, bytes]:
        """A page for :func:`page_parts`, and what the cache did for it: hit, miss, bypass or none.

        Raises:
            ApiError: when the token is nobody's, or does not see the module.
            StoreUnavailableError: when Postgres is needed and does not answer.
            StoreTimeoutError: when it takes too long.
        """
        services, settings = self._services, self._services.settings
        known = services.auth.remembered(sha256)
        if known is None:
            identity = await services.auth.identify(sha256)
        else:
            identity = known[0]
        require_module(identity, query.module)
        if query.point or not settings.cache_seconds:
            return _written(query, await services.grids.page(query)), b"none"
        key = page_key(query.module, identity.scope, query.digest)
        reading = await services.cache.read(key, query.module)
        if known is not None and reading.identities not in (None, known[1]):
            # A token was changed since this one was looked up: look again, and see the page as it is then.
            identity = await services.auth.identify(sha256)
            require_module(identity, query.module)
            if page_key(query.module, identity.scope, query.digest) != key:
                return await self._load(query), b"none"
        if reading.value is not None:
            services.metrics.cache_hits.inc()
            return reading.value, b"hit"
        if reading.stamp is None:
            services.metrics.cache_bypasses.inc()
            return await self._load(query), b"bypass"
        services.metrics.cache_misses.inc()
        body = await services.cache.load(
            key, reading.stamp, lambda: self._load(query), seconds=settings.cache_seconds
        )
        return body, b"miss"

    async def _load(self, query: GridQuery) -> bytes:
        """The page from Postgres: the data of the answer, and the beginning of its ``meta``."""
        return _written(query, await self._services.grids.page(query))

    async def _export(self, sha256: bytes, query: GridQuery, send: Send) -> None:
        identity = await self._services.auth.identify(sha256)
        require_module(identity, query.module)
        name = f'attachment; filename="{query.module}.csv"'
        started = False

        async def write(data: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [
                            (b"content-type", b"text/csv; charset=utf-8"),
                            (b"content-disposition", name.encode()),
                            (b"cache-control", b"no-store"),
                        ],
                    }
                )
            await send({"type": "http.response.body", "body": bytes(data), "more_body": True})

        await self._services.grids.export(query, write)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _fields(text: str) -> list[tuple[str, str]]:
    """The names and values of a query; raises ValueError."""
    if "%" in text or "+" in text or text.count("&") >= _MOST_FIELDS:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    # Most of them: nothing is written in another way, and so this is all there is to do.
    return [(name, value) for name, _, value in [field.partition("=") for field in text.split("&") if field]]


def _written(query: GridQuery, page: Page) -> bytes:
    # A page that is not full is the last one.
    more = page.last is not None and page.length == query.limit
    cursor = f'"{cursor_text(query.sort, page.last)}"' if more and page.last is not None else "null"
    capped = "true" if page.total_capped else "false"
    estimate = "null" if page.total_estimate is None else str(page.total_estimate)
    rest = (
        f',"total":{page.total},"total_capped":{capped},"total_estimate":{estimate},"next_cursor":{cursor}}},'
        f'"meta":{{"module":"{query.module}","limit":{query.limit},"offset":{query.offset},'
        f'"count":{page.length},"request_id":"'
    )
    return b"".join((b'{"rows":', page.rows, rest.encode()))


def page_parts(page: bytes, request_id: str) -> tuple[bytes, bytes, bytes, bytes]:
    """The body of the answer, in the parts it is put together from."""
    return _HEAD, page, request_id.encode(), b'"}}'


async def _send_page(send: Send, page: bytes, cache: bytes) -> None:
    answer = b"".join(page_parts(page, request_id()))
    headers = [*PAGE_HEADERS, (b"content-length", b"%d" % len(answer)), (b"x-cache", cache)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _read_json(receive: Receive, headers: Mapping[bytes, bytes]) -> Any:
    if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
        raise ApiError(415, "a body of Content-Type: application/json is needed")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the client left within the body")
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        # orjson bounds how deep it goes, too.
        raise ApiError(422, f"the body is no JSON: {fault.msg}") from fault
