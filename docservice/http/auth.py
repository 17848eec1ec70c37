"""Authentication: bearer tokens in a header, looked up in memory, in Redis, and in Postgres.

What belongs here: how a token becomes an identity, and what an identity may do. Never: routes, SQL.

The revocation rule: **a revoked, expired or changed token is refused from the next request on**, on every
route, for every kind of query, with the page cache on or off.

- A page of a grid that comes from Postgres: the statement that reads it checks the token, too.
- Else, Redis answers: every request reads the version of all identities, which every change of a token
  renews. What is remembered under another version is looked up again.
- Redis does not answer: nothing remembered is used; each request reads its token from Postgres.
- One case remains: the command that revokes a token cannot reach Redis while this process can. The command
  reports it, and the token ends within ``DOCSERVICE_IDENTITY_SECONDS``.

Admin routes always read the role from Postgres.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import orjson

from docservice.domain.identity import Identity, Role, bearer_hash
from docservice.http.errors import ApiError
from docservice.page_cache import IDENTITIES, Cache

if TYPE_CHECKING:
    from docservice.postgres.tokens import Tokens

_MAX_REMEMBERED = 10_000
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def bearer(header: bytes | None) -> bytes:
    """The hash of the token in an ``Authorization`` header.

    Raises:
        ApiError: 401 when there is none, or a text that no token can be.
    """
    if header is None:
        raise ApiError(401, "a token is needed: Authorization: Bearer TOKEN", headers=_CHALLENGE)
    sha256 = bearer_hash(header)
    if sha256 is None:
        raise _unknown()
    return sha256


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


class Remembered(NamedTuple):
    """An identity in this process's memory, and the version of all identities that it was read under.

    Valid only while Redis reports the same version. ``until`` is monotonic seconds.
    """

    identity: Identity
    version: bytes
    until: float


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
        self._remembered: OrderedDict[bytes, Remembered] = OrderedDict()

    def remembered(self, sha256: bytes) -> Remembered | None:
        """The identity in memory, not past its own expiry. The caller must check its version."""
        found = self._remembered.get(sha256)
        if found is None or found.until <= time.monotonic():
            return None
        expires = found.identity.expires_at is not None
        return None if expires and found.identity.expired(self._now()) else found

    async def identify(self, sha256: bytes) -> Identity:
        """The identity of a token, as of now.

        Raises:
            ApiError: 401 when it is unknown, expired or revoked.
            StoreUnavailableError: when only Postgres knows, and does not answer.
        """
        known = self.remembered(sha256)
        key = None if known is not None else f"docservice:identity:{sha256.hex()}"
        reading = await self._cache.read(key, IDENTITIES)
        if known is not None and reading.identities == known.version:
            return known.identity
        if reading.value is not None:
            identity = _read(reading.value)
            if identity.expired(self._now()):
                raise _unknown()
        else:
            identity = await self.identify_live(sha256)
            if reading.stamp is not None and key is not None:
                await self._cache.store(key, reading.stamp, _written(identity), seconds=self._seconds)
        if reading.identities is not None:
            self._remember(sha256, identity, reading.identities)
        return identity

    async def identify_live(self, sha256: bytes) -> Identity:
        """The identity of a token, read from Postgres; raises as :meth:`identify`."""
        identity = await self._tokens.find(sha256)
        if identity is None:
            self._remembered.pop(sha256, None)
            raise _unknown()
        return identity

    def _remember(self, sha256: bytes, identity: Identity, version: bytes) -> None:
        self._remembered[sha256] = Remembered(identity, version, time.monotonic() + self._seconds)
        self._remembered.move_to_end(sha256)
        if len(self._remembered) > _MAX_REMEMBERED:
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
