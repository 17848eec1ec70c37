"""The context of one request that is needed everywhere: its id."""

from __future__ import annotations

import itertools
import os
import re
from contextvars import ContextVar

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# Random for each process, counted within it: a random draw for each request costs a system call.
_PROCESS = os.urandom(5).hex()
_numbers = itertools.count(1)
_current: ContextVar[str] = ContextVar("request_id", default="")


def begin_request(given: bytes | None) -> str:
    """Set the id of this request: the one that the caller gave, when it is legal, else a new one."""
    text = given.decode("latin-1") if given is not None else ""
    identifier = text if text and _LEGAL.fullmatch(text) else f"{_PROCESS}-{next(_numbers):08x}"
    _current.set(identifier)
    return identifier


def request_id() -> str:
    """The id of the current request."""
    return _current.get()


def common_headers(identifier: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of every answer, for the request with this id."""
    return (b"x-request-id", identifier.encode()), (b"x-content-type-options", b"nosniff")
