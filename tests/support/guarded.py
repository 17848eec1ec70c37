"""A Redis or Valkey server that knows the users of deploy/redis/users.acl alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from autoscaler.demo.embedded import RedisServer
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = ROOT / "deploy" / "redis" / "users.acl"
_PASSWORD = "secret"


class Guarded:
    """Its server, and an administrator of the test's own who looks on. Every user has a password here."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._plain_url = server.url
        self.admin: Any = redis.Redis.from_url(self.url("admin"), decode_responses=True)

    def url(self, user: str) -> str:
        return self._plain_url.replace("//", f"//{user}:{_PASSWORD}@")

    def refusals(self) -> list[tuple[str, str, str]]:
        """Whom the server refused what: the user, whether command, key or channel, and which.

        A client's name for itself is left out: Redis 7.0 does not know the command, so that the file cannot
        grant it, and clients live without. So is the search for workers that listen elsewhere, which is tried
        once where nobody answers: these users have no right to it.
        """
        found = [(entry["username"], entry["reason"], entry["object"]) for entry in self.admin.acl_log()]
        return [one for one in found if one[2] not in {"client|setinfo", "scan", "celery.pidbox"}]

    def refuses(self, user: str, *words: str | bytes) -> bool:
        """Whether ``user`` may not do this; it is done where it is allowed."""
        with redis.Redis.from_url(self.url(user)) as client:
            try:
                client.execute_command(*words)
            except redis.exceptions.NoPermissionError:
                return True
            except redis.exceptions.ResponseError as fault:
                return "ACL failure in script" in str(fault)
        return False


@contextmanager
def guarded(folder: Path, **options: Any) -> Iterator[Guarded]:
    folder.mkdir()
    acl = folder / "users.acl"
    lines = [*USERS.read_text().splitlines(), "user admin on ~* &* +@all"]
    acl.write_text(
        "".join(f"{line} >{_PASSWORD}\n" for line in lines if "nopass" not in line) + lines[0] + "\n"
    )
    with RedisServer(folder / "redis", options=("--aclfile", str(acl)), **options) as server:
        one = Guarded(server)
        server.url = one.url("admin")
        try:
            yield one
        finally:
            one.admin.close()
