"""A backup that was taken under load, restored on servers of its own, where the work goes on."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from click.testing import CliRunner

from autoscaler.demo.embedded import PostgresServer, RedisServer
from docservice.cli.main import main
from docservice.config import read_settings
from docservice.dev.samples import sample_mail
from tests.docservice.conftest import Servers, fresh_database, run_api, run_worker
from tests.docservice.ingest.insides import bench
from tests.support.cluster import started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

HELD = 12


def docservice(environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    done = CliRunner(env=environment).invoke(main, words)
    return done.exit_code, done.stdout, done.stderr


def upload(client: httpx.Client, number: int) -> tuple[int, bytes]:
    """The id of a mail that was accepted, and its bytes."""
    data = sample_mail(number)
    answer = client.post(
        "/modules/mail/documents", files=[("file", (f"{number}.eml", data, "message/rfc822"))]
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]["documents"][0]["id"], data


@contextmanager
def uploading(client: httpx.Client, begin: int) -> Iterator[list[tuple[int, bytes]]]:
    """Uploads one mail after another, and deletes each fifth, until the block ends."""
    accepted: list[tuple[int, bytes]] = []
    ended = threading.Event()

    def work() -> None:
        for number in itertools.count(begin):
            if ended.is_set():
                return
            accepted.append(upload(client, number))
            if number % 5 == 0:
                client.delete(f"/documents/{accepted.pop()[0]}").raise_for_status()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield accepted
    finally:
        ended.set()
        thread.join()


def process(environment: dict[str, str], ids: list[int]) -> None:
    """Process these as a worker does."""

    async def work() -> None:
        async with bench(read_settings(environment)) as made:
            for document_id in ids:
                await made.worker.process(document_id)

    asyncio.run(work())


def state(client: httpx.Client, document_id: int) -> Any:
    answer = client.get(f"/documents/{document_id}")
    return answer.json()["data"]["state"] if answer.status_code == 200 else answer.status_code


def test_a_copy_of_the_append_only_folder_has_the_messages_and_the_overrides(tmp_path: Path) -> None:
    key, queue = "autoscaler:default:override", "celery"
    with RedisServer(tmp_path / "old", persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set(key, '{"paused": true}')
        client.lpush(queue, "message")
    shutil.copytree(tmp_path / "old/appendonlydir", tmp_path / "new/appendonlydir")
    with RedisServer(tmp_path / "new", persistent=True) as server, redis.Redis.from_url(server.url) as client:
        assert (client.get(key), client.lrange(queue, 0, -1)) == (b'{"paused": true}', [b"message"])


def accepted_and_backed_up(
    folder: Path, old: dict[str, str], store: str
) -> tuple[list[tuple[int, bytes]], dict[str, str]]:
    """What an API had accepted, and deleted, when a backup began beside its uploads; and its tokens."""
    with run_api(folder, old) as api, api.client("operator") as client:
        done = [upload(client, number) for number in range(1, 5)]
        process(old, [one for one, _ in done])
        assert {state(client, one) for one, _ in done} == {"processed"}
        accepted = [*done, *(upload(client, number) for number in range(5, 5 + HELD))]
        with uploading(client, 1000) as meanwhile:
            started(lambda: len(meanwhile) > 3, what="uploads beside the backup")
            accepted += list(meanwhile)
            found = docservice(old, "backup", store)
            assert found[0] == 0, found
            began = len(meanwhile)
            started(lambda: len(meanwhile) > began, what="uploads after the backup")
        return accepted, api.tokens


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_everything_that_was_accepted_before_a_backup_began_is_restored_opened_and_processed(
    servers: Servers, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    with fresh_database(servers) as database_url, RedisServer(tmp_path / "old-redis") as old_redis:
        old = {
            "DATABASE_URL": database_url,
            "REDIS_URL": old_redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/old-blobs",
        }
        accepted, tokens = accepted_and_backed_up(tmp_path, old, store)

    fresh = servers.folder / "restored"  # where the user of Postgres may pass
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(fresh))
        new_redis = stack.enter_context(RedisServer(tmp_path / "new-redis"))
        new = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": new_redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/new-blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
        }
        code, out, err = docservice(new, "restore", store)
        assert (code, err) == (0, ""), (code, out, err)
        again = docservice(new, "restore", store)
        elsewhere = docservice({**new, "DOCSERVICE_BLOB_URL": old["DOCSERVICE_BLOB_URL"]}, "check")
        api = stack.enter_context(run_api(tmp_path, new))
        client = stack.enter_context(api.client(None))
        client.headers["Authorization"] = f"Bearer {tokens['operator']}"
        stack.enter_context(run_worker(tmp_path, new))
        started(
            lambda: {state(client, one) for one, _ in accepted} == {"processed"},
            within_seconds=90,
            what="the processing of what was pending",
        )
        opened = {one: client.get(f"/documents/{one}/content").content for one, _ in accepted}
        assert opened == dict(accepted)
        later = upload(client, 2000)[0]
        started(lambda: state(client, later) == "processed", what="a new document")
    # Else the removal of orphans would delete what the service before has stored since.
    assert elsewhere[0] == 1
    assert "old-blobs belongs to another database" in elsewhere[2]
    tables = ", ".join(f"public.{name}" for name in ("admin_audit", "bulk_chunks", "bulk_jobs"))
    assert again[:2] == (1, "")
    assert again[2].startswith(f"docservice: the database of DATABASE_URL has tables ({tables}, ")
