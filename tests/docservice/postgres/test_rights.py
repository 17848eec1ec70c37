"""A user of Postgres with the rights that the service needs, and no others."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from autoscaler.demo.embedded import PostgresServer, Process
from docservice.cli.main import main
from docservice.cli.running import check
from docservice.config import read_settings
from docservice.dev.samples import sample_mail
from docservice.postgres.rights import NEEDED
from tests.docservice.conftest import _execute, fresh_database, run_api, run_worker
from tests.docservice.http.calls import upload
from tests.support.cluster import started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docservice.conftest import Servers

LINE = "docservice: DATABASE_URL:"
GRANT = "as the owner of the tables, grant that"
CHECK = "migrate, backup and restore take the owner of the tables; for the others see docservice check"


@pytest.fixture
def clerk(servers: Servers, database_url: str) -> Iterator[str]:
    """The URL of a user who may do what the service needs."""
    name = f"clerk_{next(servers.counter)}"
    asyncio.run(_execute(database_url, f"create role {name} login password '{name}'"))
    for table, rights in NEEDED.items():
        asyncio.run(_execute(database_url, f"grant {', '.join(rights)} on {table} to {name}"))
    place = urlsplit(database_url)
    yield place._replace(netloc=f"{name}:{name}@{place.hostname}:{place.port}").geturl()
    asyncio.run(_execute(database_url, f"drop owned by {name}"))
    asyncio.run(_execute(database_url, f"drop role {name}"))


@pytest.fixture
def environment(clerk: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": clerk,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        "DOCSERVICE_SWEEP_SECONDS": "0.5",
    }


def test_the_documented_grants_are_those_that_are_needed() -> None:
    text = (Path(__file__).parents[3] / "docs" / "security.md").read_text()
    granted: dict[str, tuple[str, ...]] = {}
    for rights, tables in re.findall(r"^  grant (.+) on (.+) to docservice;$", text, re.MULTILINE):
        granted |= dict.fromkeys(tables.split(", "), tuple(rights.split(", ")))
    assert granted == NEEDED


@pytest.mark.slow
def test_the_service_and_its_worker_need_no_other_rights(environment: dict[str, str], tmp_path: Path) -> None:
    checked = CliRunner(env=environment).invoke(main, ["check"])
    assert checked.exit_code == 0, checked.output
    with ExitStack() as stack:
        live = stack.enter_context(run_api(tmp_path, environment))
        stack.enter_context(run_worker(tmp_path, environment))
        client = stack.enter_context(live.client("system_admin"))

        def states() -> dict[str, int]:
            rows = client.get("/modules/lot/grid").json()["data"]["rows"]
            return dict(Counter(row["state"] for row in rows))

        again = {"Idempotency-Key": "one"}
        column = {"module": "lot", "document_type": "email", "column": "title"}
        answers = [
            upload(client, "lot", *((f"{number}.eml", sample_mail(number)) for number in range(3))),
            client.post("/document-type-columns", json=column, headers=again),
        ]
        started(lambda: set(states()) == {"processed"}, within_seconds=60, what="the processing")
        chosen = {"ids": [row["id"] for row in client.get("/modules/lot/grid").json()["data"]["rows"]]}
        answers += [
            client.get("/modules/lot/grid", params={"text.contains": "number"}),
            client.post("/modules/lot/documents/retry", json=chosen),
            client.post("/modules/lot/documents/delete", json=chosen),
        ]
        started(lambda: states() == {}, within_seconds=60, what="the deletion")
        [worker] = client.get("/admin/celery/inspect").json()["data"]
        column_id = answers[1].json()["data"]["id"]
        answers += [
            client.post("/admin/celery/drain_shutdown", json={"workers": [worker["worker"]], "force": True}),
            client.get("/admin/audit"),
            client.delete(f"/document-type-columns/{column_id}"),
        ]
        live.revoke(live.add_token(name="gone")[0])
        ready = client.get("/readyz").json()["data"]
    assert [(answer.status_code, answer.text) for answer in answers if answer.status_code >= 400] == []
    assert (ready["status"], ready["background"]) == ("ready", [])
    assert "permission denied" not in live.process.log() + (tmp_path / "worker.log").read_text()


def test_a_check_names_the_rights_that_are_missing(environment: dict[str, str], database_url: str) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, f"revoke delete, update on documents from {name}"))
    asyncio.run(_execute(database_url, f"revoke insert on tokens from {name}"))
    checked = CliRunner(env=environment).invoke(main, ["check"])
    assert (checked.exit_code, checked.stderr) == (
        1,
        f"{LINE} the user {name} lacks update on documents, delete on documents, insert on tokens; {GRANT}\n",
    )


def test_a_check_names_what_a_user_without_any_right_lacks(
    environment: dict[str, str], database_url: str
) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, f"drop owned by {name}"))
    checked = CliRunner(env=environment).invoke(main, ["check"])
    lacks = ", ".join(f"{right} on {table}" for table, rights in NEEDED.items() for right in rights)
    assert (checked.exit_code, checked.stderr) == (1, f"{LINE} the user {name} lacks {lacks}; {GRANT}\n")


def test_a_check_names_a_schema_that_the_user_may_not_use(
    environment: dict[str, str], database_url: str
) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, "revoke usage on schema public from public"))
    checked = CliRunner(env=environment).invoke(main, ["check"])
    assert (checked.exit_code, checked.stderr) == (
        1,
        f"{LINE} the user {name} lacks usage on schema public; {GRANT}\n",
    )


def test_a_check_of_an_empty_database_names_the_migrations_whatever_others_have_there(
    clerk: str, redis_url: str, servers: Servers
) -> None:
    user = urlsplit(clerk).netloc
    with fresh_database(servers, template="template1") as empty:
        asyncio.run(_execute(empty, "create schema of_others create table schema_migrations (version text)"))
        theirs = urlsplit(empty)._replace(netloc=user).geturl()
        checked = CliRunner(env={"DATABASE_URL": theirs, "REDIS_URL": redis_url}).invoke(main, ["check"])
    assert checked.exit_code == 1
    assert checked.stderr.startswith("docservice: the database lacks 0001_documents, ")


def test_a_check_says_that_transactions_are_read_only(environment: dict[str, str], database_url: str) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, f"alter role {name} set default_transaction_read_only = on"))
    checked = CliRunner(env=environment).invoke(main, ["check"])
    assert (checked.exit_code, checked.stderr) == (
        1,
        f"{LINE} transactions are read-only there; give a server, database and user that may write\n",
    )


class Standby(PostgresServer):
    """A standby of another server, from a base backup of it."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        super().__init__(folder)
        self._primary = primary.url
        self.url = urlsplit(primary.url)._replace(netloc=self._netloc(primary.url)).geturl()

    def _netloc(self, url: str) -> str:
        return f"{urlsplit(url).netloc.rpartition(':')[0]}:{self.port}"

    def of(self, url: str) -> str:
        """The same user and database here."""
        return urlsplit(url)._replace(netloc=self._netloc(url)).geturl()

    def _initialise(self, binaries: Path) -> None:
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(self._data, self._user)
        source = urlsplit(self._primary)._replace(path="").geturl()
        command = (
            binaries / "pg_basebackup",
            "-D",
            self._data,
            "-d",
            source,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        )
        with Process(command, log_path=self.folder / "backup.log", user=self._user) as backup:
            assert backup.wait(within_seconds=60) == 0, backup.log()


@pytest.mark.slow
def test_a_check_and_a_start_say_that_the_server_is_a_standby(
    servers: Servers, environment: dict[str, str]
) -> None:
    folder = servers.folder / f"standby{next(servers.counter)}"
    with Standby(folder, servers.postgres) as standby:
        there = {**environment, "DATABASE_URL": standby.of(environment["DATABASE_URL"])}
        checked = CliRunner(env=there).invoke(main, ["check"])
        migrated = CliRunner(env={**there, "DATABASE_URL": standby.url}).invoke(main, ["migrate"])
    assert (checked.exit_code, checked.stderr) == (1, f"{LINE} the server is a standby; give the primary\n")
    where = urlsplit(standby.url).netloc.rpartition("@")[2]
    line = (
        f"docservice: DATABASE_URL ({where}): Postgres takes no write there: the server is a standby, or"
        " transactions are read-only; check that the server runs, the user and the password\n"
    )
    assert (migrated.exit_code, migrated.stderr) == (1, line)


def test_the_api_and_the_worker_say_at_their_start_which_rights_are_missing(
    environment: dict[str, str], database_url: str
) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, f"revoke insert on documents from {name}"))
    with capture_logs() as told:
        asyncio.run(check(read_settings(environment)))
    why = f"the user {name} lacks insert on documents; {GRANT}"
    assert told == [{"event": "database.rights", "log_level": "warning", "part": "settings", "why": why}]


def test_a_right_that_is_missing_is_answered_with_503_and_logged_once(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    detail = "Postgres refuses this user: %s; grant what docservice check names"
    with run_api(tmp_path, environment) as live, live.client("operator") as client:
        asyncio.run(_execute(database_url, f"revoke insert on documents from {name}"))
        asyncio.run(_execute(database_url, f"revoke select on document_type_columns from {name}"))
        answers = [upload(client, "mail", ("a.txt", b"text")) for _ in range(3)]
        answers += [client.get("/document-type-columns") for _ in range(3)]
        pages = [client.get("/modules/mail/grid").status_code, client.get("/readyz").status_code]
        asyncio.run(_execute(database_url, "revoke usage on schema public from public"))
        hidden = client.get("/documents", params={"id": "1"})
        blind = client.get("/readyz").json()
        asyncio.run(_execute(database_url, "grant usage on schema public to public"))
        asyncio.run(_execute(database_url, f"revoke select on schema_migrations from {name}"))
        unready = client.get("/readyz")
        asyncio.run(_execute(database_url, f"grant insert on documents to {name}"))
        again = upload(client, "mail", ("a.txt", b"text"))
        log = live.process.log()
    assert pages == [200, 200]
    assert [(one.status_code, one.json()["error"]["code"]) for one in [*answers, hidden]] == [
        (503, "database_refused")
    ] * 7
    assert [one.json()["error"]["detail"] for one in (*answers[::3], hidden)] == [
        detail % "permission denied for table documents",
        detail % "permission denied for table document_type_columns",
        detail % 'relation "documents" does not exist',
    ]
    assert blind["data"]["migrations"] == "unknown"
    assert blind["error"]["detail"] == (
        f"Postgres refuses this user: the user {name} lacks usage on schema public; {GRANT}"
    )
    found = unready.json()
    assert (unready.status_code, found["data"]["postgres"], found["data"]["migrations"]) == (
        503,
        "up",
        "unknown",
    )
    assert found["error"]["detail"].endswith("permission denied for table schema_migrations")
    assert again.status_code == 202
    refusals = [json.loads(line)["why"] for line in log.splitlines() if '"database.refused"' in line]
    assert len(refusals) == len(set(refusals)) >= len(answers[::3])
    assert "Traceback" not in log


@pytest.mark.parametrize("command", [["token", "list"], ["migrate"]])
def test_a_command_without_a_right_ends_with_one_line(
    command: list[str], environment: dict[str, str], database_url: str
) -> None:
    name = urlsplit(environment["DATABASE_URL"]).username
    asyncio.run(_execute(database_url, f"drop owned by {name}"))
    refused = CliRunner(env=environment).invoke(main, command)
    what = {"token": "table schema_migrations", "migrate": "schema public"}[command[0]]
    assert (refused.exit_code, refused.stderr) == (
        1,
        f"{LINE} Postgres refuses this user: permission denied for {what}; {CHECK}\n",
    )
