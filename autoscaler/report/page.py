"""The page for people: its files, the history behind it, and the headers that keep it to itself.

Everything it loads is a file of this package. All addresses in it are relative, so that it works behind a
proxy that puts a path in front; a proxy that leaves that path in the request needs ``--base-path``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from autoscaler.report.live import words
from autoscaler.report.series import MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.report.streams import Streams

JSON = "application/json"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
#: Nothing but files of this server, no inline code, and no other page may frame it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
DEFAULT_SINCE = "1h"
_SINCE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|h|)")
_UNITS = {"s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_LEGAL_SINCE = "it must be a time from 1s to 24h, as in 90s, 15m or 24h"
_GROUP = re.compile(r"[0-9a-f]{10}")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; ``headers`` are those beside its type and its length."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Cache-Control": "no-store"})


def plain_text(status: HTTPStatus, text: str) -> Response:
    """A line of text."""
    return Response(status=status, content_type="text/plain; charset=utf-8", body=f"{text}\n".encode())


class QueryError(ValueError):
    """A query that cannot be answered; the message says what is legal."""


def parse_since(text: str) -> float:
    """Seconds from ``90s``, ``15m`` or ``24h``.

    Raises:
        ValueError: for anything else, with what is legal.
    """
    match = _SINCE.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= seconds <= MAX_SECONDS:
        raise ValueError(_LEGAL_SINCE)
    return seconds


def parse_query(query: str) -> tuple[float, str]:
    """The span in seconds and the group from ``since=1h&group=ID``.

    Raises:
        QueryError: for parameters that are unknown, given twice, or not legal.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=10)
    except ValueError:
        raise QueryError("the query cannot be read; it must be since=TIME and group=ID at most") from None
    given = dict(pairs)
    unknown = sorted(given.keys() - {"since", "group"})
    if unknown:
        raise QueryError(f"{unknown[0][:_SHOWN_CHARACTERS]!a} is no parameter; there are since and group")
    if len(pairs) > len(given):
        raise QueryError("a parameter is given twice; give since and group once at most")
    group = given.get("group", "")
    if group and not _GROUP.fullmatch(group):
        raise QueryError("group must be one of the ids under groups")
    since = given.get("since", DEFAULT_SINCE)
    try:
        return parse_since(since), group
    except ValueError as fault:
        shown = since if len(since) <= _SHOWN_CHARACTERS else f"{since[:_SHOWN_CHARACTERS]}..."
        raise QueryError(f"since is {shown!a}; {fault}") from None


class Site:
    """The page under ``/`` with what it asks for.

    ``history`` takes a span in seconds and a group and gives None for one that is not there.
    """

    def __init__(
        self,
        *,
        history: Callable[[float, str], Mapping[str, Any] | None],
        streams: Streams,
        base_path: str = "",
    ) -> None:
        self._history = history
        self.streams = streams
        self._base_path = base_path

    def path(self, path: str) -> str | None:
        """The path without the one that a proxy has left in it; None where it lacks its last slash."""
        if not self._base_path or not path.startswith(self._base_path):
            return path
        rest = path.removeprefix(self._base_path)
        return None if not rest else rest if rest.startswith("/") else path

    def answer(self, path: str, query: str, known: str) -> Response | None:
        """What is under ``path``, None where nothing is. ``known`` are the ETags that the peer has."""
        if path == "/history":
            return self._answer_history(query)
        if path == "/reasons":
            return _cached(json.dumps(words()).encode(), JSON, known)
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        if path != "/" and not path.startswith("/static/"):
            return None
        found = files().get(name)
        return None if found is None else _cached(*found, known)

    def _answer_history(self, query: str) -> Response:
        try:
            span_seconds, group = parse_query(query)
        except QueryError as fault:
            return plain_text(HTTPStatus.BAD_REQUEST, str(fault))
        found = self._history(span_seconds, group)
        if found is None:
            return plain_text(HTTPStatus.NOT_FOUND, "there is no such group; those that there are have an id")
        body = json.dumps(found, separators=(",", ":")).encode()
        headers = {**HEADERS, "Cache-Control": "no-store"}
        return Response(status=HTTPStatus.OK, content_type=JSON, body=body, headers=headers)


def _cached(body: bytes, content_type: str, known: str) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {**HEADERS, "ETag": tag, "Cache-Control": "no-cache"}
    if tag in {one.strip().removeprefix("W/") for one in known.split(",")}:
        return Response(status=HTTPStatus.NOT_MODIFIED, content_type=content_type, body=b"", headers=headers)
    return Response(status=HTTPStatus.OK, content_type=content_type, body=body, headers=headers)


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """The files of the page with their types: read once, so that a path never leads to the disk."""
    found = {}
    for one in (resources.files("autoscaler.report") / "static").iterdir():
        kind = _TYPES.get(f".{one.name.rpartition('.')[2]}")
        if kind is not None:
            found[one.name] = one.read_bytes(), f"{kind}; charset=utf-8"
    return found
