"""Who asks: bearer tokens in a header, looked up in memory, in Redis, and in Postgres.

What is known is known under a version of all identities, which every change of a token raises: where Redis
answers, a revoked token ends with the next request. Without Redis it is believed until its entry here
expires. Roles for admin routes are always read from Postgres.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from docservice.domain.identity import Identity, Role, bearer_hash
from docservice.http.errors import ApiError
from docservice.page_cache import IDENTITIES, Cache

if TYPE_CHECKING:
    from docservice.postgres.tokens import Tokens

_MOST_REMEMBERED = 10_000
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def bearer(written: bytes | None) -> bytes:
    """The hash of the token in a header ``Authorization``.

    Raises:
        ApiError: 401 when there is none, or a text that no token can be.
    """
    if written is None:
        raise ApiError(401, "a token is needed: Authorization: Bearer TOKEN", headers=_CHALLENGE)
    known = bearer_hash(written)
    if known is None:
        raise _unknown()
    return known


def _unknown() -> ApiError:
    return ApiError(401, "the token is unknown, expired or revoked", headers=_CHALLENGE)


def require_role(identity: Identity, needed: Role) -> None:
    """Pass when the identity's role covers the one needed.

    Raises:
        ApiError: 403 when it does not.
    """
    if not identity.role.covers(needed):
        raise ApiError(403, f"the role {needed} is needed; this token has {identity.role}")


def require_module(identity: Identity, module: str) -> None:
    """Pass when the identity may see the module.

    Raises:
        ApiError: 403 when it may not.
    """
    if not identity.may_see(module):
        raise ApiError(403, f"this token does not see the module {module}", code="module_forbidden")


class Authenticator:
    """Turns tokens into identities."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        cache: Cache,
        seconds: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._cache = cache
        self._seconds = seconds
        self._now = now
        # By hash: the identity, the version of all identities it was read under, when to ask again.
        self._remembered: OrderedDict[bytes, tuple[Identity, bytes | None, float]] = OrderedDict()

    def remembered(self, sha256: bytes) -> tuple[Identity, bytes | None] | None:
        """What is known here, and the version to hold against the present one."""
        found = self._remembered.get(sha256)
        if found is None or found[2] < time.monotonic():
            return None
        if found[0].expires_at is not None and found[0].expired(self._now()):
            return None
        return found[0], found[1]

    async def identify(self, sha256: bytes) -> Identity:
        """Whose token it is, as of now where Redis answers.

        Raises:
            ApiError: 401 when it is nobody's.
            StoreUnavailableError: when only Postgres knows, and does not answer.
        """
        key = f"docservice:identity:{sha256.hex()}"
        reading = await self._cache.read(key, IDENTITIES)
        known = self.remembered(sha256)
        if known is not None and reading.identities in (None, known[1]):
            return known[0]
        if reading.value is not None:
            identity = _read(reading.value)
        else:
            found = await self._tokens.find(sha256)
            if found is None:
                self._remembered.pop(sha256, None)
                raise _unknown()
            identity = found
            if reading.stamp is not None:
                await self._cache.store(key, reading.stamp, _written(identity), seconds=self._seconds)
        if identity.expired(self._now()):
            raise _unknown()
        self._remember(sha256, identity, reading.identities)
        return identity

    async def identify_live(self, sha256: bytes) -> Identity:
        """Whose token it is, read from Postgres; raises as :meth:`identify`."""
        identity = await self._tokens.find(sha256)
        if identity is None:
            self._remembered.pop(sha256, None)
            raise _unknown()
        return identity

    def _remember(self, sha256: bytes, identity: Identity, version: bytes | None) -> None:
        self._remembered[sha256] = (identity, version, time.monotonic() + self._seconds)
        self._remembered.move_to_end(sha256)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _written(identity: Identity) -> bytes:
    modules = None if identity.modules is None else sorted(identity.modules)
    return orjson.dumps([identity.token_id, identity.name, identity.role, modules, identity.expires_at])


def _read(text: bytes) -> Identity:
    token_id, name, role, modules, expires_at = orjson.loads(text)
    return Identity(
        token_id=token_id,
        name=name,
        role=Role(role),
        modules=None if modules is None else frozenset(modules),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )
