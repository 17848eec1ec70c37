"""Identities: roles, the modules that a token may see, and tokens themselves.

What belongs here: values only. A token is opaque and random; only its SHA-256 is stored. Its 256 random bits
need no salt and no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_TOKEN = rb"ds_[A-Za-z0-9_-]{43}"
_WRITTEN_TOKEN = re.compile(_TOKEN)
_BEARER = re.compile(rb"(?i:bearer)[ \t]+(%b)[ \t]*" % _TOKEN)


class Role(StrEnum):
    """What a token may do; each may do what those before it may."""

    VIEWER = "viewer"  # read grids, columns and documents
    OPERATOR = "operator"  # upload documents, change columns
    SYSTEM_ADMIN = "system_admin"  # the workers and the audit

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what ``needed`` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The owner of one token. ``modules`` is None when it may see all of them."""

    token_id: int
    name: str
    role: Role
    modules: frozenset[str] | None
    expires_at: datetime | None

    def may_see(self, module: str) -> bool:
        """Whether grids and documents of this module are open to it."""
        return self.modules is None or module in self.modules

    @property
    def scope(self) -> str:
        """What it may see, as a part of cache keys: equal for identities that may see the same."""
        if self.modules is None:
            return "all"
        return hashlib.sha256(",".join(sorted(self.modules)).encode()).hexdigest()[:16]

    def expired(self, now: datetime) -> bool:
        """Whether it has expired at ``now``."""
        return self.expires_at is not None and self.expires_at <= now


def new_token() -> str:
    """A token of 256 random bits, to be shown once."""
    return f"ds_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes | None:
    """The SHA-256 of a token, or None for a text that is not a token."""
    written = token.encode(errors="replace")
    return hashlib.sha256(written).digest() if _WRITTEN_TOKEN.fullmatch(written) else None


def bearer_hash(header: bytes) -> bytes | None:
    """The SHA-256 of the bearer token in an ``Authorization`` header, or None when there is none."""
    found = _BEARER.fullmatch(header)
    return None if found is None else hashlib.sha256(found[1]).digest()
