"""The grid routes, plain ASGI: this is the hot path, and a cached page takes one round trip to Redis.

``GET`` and ``POST`` of ``/modules/{module}/grid`` and of ``/modules/{module}/grid.csv``. The answer is
assembled from bytes: rows from Postgres or from the cache are sent as they came.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from docservice.domain.documents import module_name
from docservice.domain.grid.component_body import PAGE_FIELDS, from_body
from docservice.domain.grid.cursor import cursor_text
from docservice.domain.grid.http_get import PAGE_PARAMETERS, from_parameters
from docservice.domain.grid.query import MAX_CONDITIONS, MAX_FILTERS, GridQuery
from docservice.http.auth import bearer, require_module
from docservice.http.context import request_id
from docservice.http.deps import require_existing
from docservice.http.errors import ApiError
from docservice.page_cache import page_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from docservice.domain.identity import Identity
    from docservice.http.services import Services
    from docservice.page_cache import Reading
    from docservice.postgres.grids import Page

_MAX_REMEMBERED = 4096
_MAX_REMEMBERED_BYTES = 256
_MAX_QUERY_BYTES = 16_384
_MAX_FIELDS = MAX_FILTERS * MAX_CONDITIONS
_HEAD = b'{"success":true,"message":null,"error":null,"data":'
#: The headers of every page.
PAGE_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"private, no-store"))
#: The patterns of these routes.
PAGE_ROUTE = "/modules/{module}/grid"
EXPORT_ROUTE = "/modules/{module}/grid.csv"


def grid_route(path: str) -> str | None:
    """The pattern of the route that a path belongs to, or None where it is none of these."""
    if not path.startswith("/modules/") or path.count("/") != 3:  # noqa: PLR2004 - slashes
        return None
    if path.endswith("/grid"):
        return PAGE_ROUTE
    return EXPORT_ROUTE if path.endswith("/grid.csv") else None


class GridRoutes:
    """Answers the grid routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._remembered: OrderedDict[tuple[str, bytes], GridQuery] = OrderedDict()

    async def __call__(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Answer one request; faults are raised, and the caller turns them into answers."""
        method, path = scope["method"], scope["path"]
        export = path.endswith(".csv")
        if method not in ("GET", "POST"):
            raise ApiError(
                405, f"{method} is not allowed here; use GET, POST", headers={"Allow": "GET, POST"}
            )
        sha256 = bearer(headers.get(b"authorization"))
        module = module_name(path.split("/")[2])
        if method == "POST" and scope["query_string"]:
            raise ApiError(422, "a POST has its query in the body; leave the parameters of the URL out")
        if export:
            if method == "POST":
                query = _export_body_query(module, await _read_json(receive, headers))
            else:
                query = _export_query(module, scope["query_string"])
            identity = await self._services.auth.identify(sha256)  # behind the body, which may take long
            require_module(identity, module)
            await require_existing(self._services, identity, module)
            await self._services.exports.send(query, f"{module}.csv", send)
            return
        if method == "POST":
            query = from_body(module, await _read_json(receive, headers))
        else:
            query = self.parameters(module, scope["query_string"])
        await _send_page(send, *await self.page(sha256, query))

    def parameters(self, module: str, raw: bytes) -> GridQuery:
        """The query of a GET. Parsing is pure, so a recent result is reused; look-ups are seldom the same.

        Raises:
            ApiError: when it is no query.
            GridError: when it is one that cannot be answered.
        """
        known = self._remembered.get((module, raw))
        if known is not None:
            return known
        query = from_parameters(module, _pairs(raw))
        if not query.point and len(raw) <= _MAX_REMEMBERED_BYTES:
            self._remembered[module, raw] = query
            if len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return query

    async def page(self, sha256: bytes, query: GridQuery) -> tuple[bytes, bytes]:
        """A page for :func:`page_parts`, and what the cache did for it: hit, miss, bypass or none.

        The token is checked against the version of all identities as of this request, on every way through.

        Raises:
            ApiError: when the token is unknown, or may not see the module.
            StoreUnavailableError: when Postgres is needed and does not answer.
            StoreTimeoutError: when it takes too long.
        """
        auth = self._services.auth
        known = auth.remembered(sha256)
        if known is not None and not known.identity.may_see(query.module):
            known = None
        if query.point or not self._services.settings.cache_seconds:
            if known is not None:  # the statement that reads the page checks the token, too
                page = await self._services.grids.page(query, reader=known.identity.token_id)
                if page.allowed:
                    return await self._shown(query, page, known.identity), b"none"
            identity = await auth.identify(sha256)
            require_module(identity, query.module)
            return await self._load(query, identity), b"none"
        if known is None:
            identity = await auth.identify(sha256)
            require_module(identity, query.module)
        else:
            identity = known.identity
        key = page_key(query.module, identity.scope, query.digest)
        reading = await self._services.cache.read(key, query.module)
        if known is not None and reading.identities != known.version:
            # A token was changed since this one was looked up, or Redis does not answer: look it up again.
            identity = await auth.identify(sha256)
            require_module(identity, query.module)
            if page_key(query.module, identity.scope, query.digest) != key:
                return await self._load(query, identity), b"none"
        return await self._cached(key, reading, query, identity)

    async def _cached(
        self, key: str, reading: Reading, query: GridQuery, identity: Identity
    ) -> tuple[bytes, bytes]:
        """The page of this reading of the cache, loaded where it has none."""
        metrics, cache = self._services.metrics, self._services.cache
        if reading.value is not None:
            metrics.cache_hits.inc()
            return reading.value, b"hit"
        if reading.stamp is None:
            metrics.cache_bypasses.inc()
            return await self._load(query, identity), b"bypass"
        metrics.cache_misses.inc()
        seconds = self._services.settings.cache_seconds
        body = await cache.load(key, reading.stamp, lambda: self._load(query, identity), seconds=seconds)
        return body, b"miss"

    async def _load(self, query: GridQuery, identity: Identity) -> bytes:
        """The page from Postgres: the data of the answer, and the beginning of its ``meta``.

        Raises:
            ApiError: 404 when there is nothing, and no such module either, for who may see all modules.
        """
        return await self._shown(query, await self._services.grids.page(query), identity)

    async def _shown(self, query: GridQuery, page: Page, identity: Identity) -> bytes:
        """The page as :meth:`_load` returns it."""
        if not page.length:
            await require_existing(self._services, identity, query.module)
        return _written(query, page)


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string.

    Raises:
        ApiError: when it is malformed or too long.
    """
    if len(raw) > _MAX_QUERY_BYTES:
        raise ApiError(422, f"the query has more than {_MAX_QUERY_BYTES} bytes; use POST")
    try:
        return _fields(raw.decode("ascii"))
    except ValueError as fault:
        raise ApiError(422, "the query is malformed: it is not UTF-8, or has too many fields") from fault


def _export_query(module: str, raw: bytes) -> GridQuery:
    """The query of an export by GET.

    Raises:
        ApiError: when it asks for a part: an export has all rows.
        GridError: as for a page.
    """
    pairs = _pairs(raw)
    _refuse_paging({name for name, _ in pairs}, PAGE_PARAMETERS)
    return from_parameters(module, pairs)


def _export_body_query(module: str, body: Any) -> GridQuery:
    """The query of an export by POST; raises as :func:`_export_query`."""
    if isinstance(body, dict):
        _refuse_paging(set(body), PAGE_FIELDS)
    return from_body(module, body)


def _refuse_paging(given: set[str], paging: frozenset[str]) -> None:
    if given & paging:
        legal = ", ".join(sorted(paging))
        raise ApiError(422, f"{min(given & paging)}: an export has all rows; leave {legal} out")


def _fields(text: str) -> list[tuple[str, str]]:
    """The names and values of a query; raises ValueError."""
    if "%" in text or "+" in text or text.count("&") >= _MAX_FIELDS:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    # Most queries: nothing is escaped, so this is all there is to do.
    return [(name, value) for name, _, value in [field.partition("=") for field in text.split("&") if field]]


def _written(query: GridQuery, page: Page) -> bytes:
    # A page that is not full is the last one.
    more = page.last is not None and page.length == query.limit
    cursor = (
        f'"{cursor_text(query.sort, page.last, ranked=query.ranked)}"'
        if more and page.last is not None
        else "null"
    )
    capped = "true" if page.total_capped else "false"
    estimate = "null" if page.total_estimate is None else str(page.total_estimate)
    rest = (
        f',"total":{page.total},"total_capped":{capped},"total_estimate":{estimate},"next_cursor":{cursor}}},'
        f'"meta":{{"module":"{query.module}","limit":{query.limit},"offset":{query.offset},'
        f'"count":{page.length},"request_id":"'
    )
    return b"".join((b'{"rows":', page.rows, rest.encode()))


def page_parts(page: bytes, request_id: str) -> tuple[bytes, bytes, bytes, bytes]:
    """The body of the answer, as the parts it is assembled from."""
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
            raise ApiError(400, "the client closed the connection within the body")
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        # orjson bounds the nesting depth, too.
        raise ApiError(422, f"the body is not JSON: {fault.msg}") from fault
