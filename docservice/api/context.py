"""What belongs to one request and is needed everywhere: its id."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_current: ContextVar[str] = ContextVar("request_id", default="")


def begin_request(given: bytes | None) -> str:
    """Take the caller's id for this request when it has a legal one, else draw one."""
    text = given.decode("latin-1") if given is not None else ""
    identifier = text if _LEGAL.fullmatch(text) else os.urandom(8).hex()
    _current.set(identifier)
    return identifier


def request_id() -> str:
    """The id of the request that is being answered."""
    return _current.get()
