"""Upgrade and rollback: API and worker of the release before, on the schema and beside those of the tree."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from autoscaler.demo.embedded import RedisServer
from docservice.dev.samples import sample_mail
from docservice.postgres.migrations import migrations
from tests.docservice.conftest import Servers, fresh_database, run_api, run_worker
from tests.support.cluster import started
from tests.support.previous import ROOT, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

WITHIN = 90


def docservice(tree: Path, environment: dict[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run(
        (sys.executable, "-m", "docservice", *words),
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def upload(client: httpx.Client, number: int) -> int:
    file = (f"{number}.eml", sample_mail(number), "message/rfc822")
    answer = client.post("/modules/mail/documents", files=[("file", file)])
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]["documents"][0]["id"]


def rows(client: httpx.Client) -> dict[int, dict[str, object]]:
    """The newest documents that are no attachments, by id."""
    answer = client.get("/modules/mail/grid", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    return {row["id"]: row for row in answer.json()["data"]["rows"]}


def state(client: httpx.Client, document_id: int) -> object:
    return client.get(f"/documents/{document_id}").json()["data"]["state"]


@contextmanager
def used(client: httpx.Client) -> Iterator[list[int]]:
    """Uploads and looks, again and again until the block ends; a fault of either is raised there."""
    ids: list[int] = []
    faults: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            for number in itertools.count(100):
                if ended.is_set():
                    return
                ids.append(upload(client, number))
                assert ids[-1] in rows(client)
        except BaseException as fault:  # noqa: BLE001 - raised in the other thread
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ids
    finally:
        ended.set()
        thread.join()
    assert faults == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_older_api_answers_during_and_after_the_migration_and_either_worker_does_the_others_work(
    servers: Servers, tmp_path: Path
) -> None:
    previous = unpack(tmp_path / "previous")
    with ExitStack() as stack:
        environment = {
            "DATABASE_URL": stack.enter_context(fresh_database(servers, template="template1")),
            "REDIS_URL": stack.enter_context(RedisServer(tmp_path / "redis")).url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
        }
        applied = docservice(previous, environment, "migrate")
        assert applied == (0, "applied: 0001_documents, 0002_access\n")
        old_api = stack.enter_context(run_api(tmp_path, environment, tree=previous))
        old = stack.enter_context(old_api.client())
        before = [upload(old, number) for number in range(5)]
        with used(old) as meanwhile:
            started(lambda: len(meanwhile) >= 2, what="work before the migration")
            missing = [step.name for step in migrations()][2:]
            assert docservice(ROOT, environment, "migrate") == (0, f"applied: {', '.join(missing)}\n")
            done = len(meanwhile)
            started(lambda: len(meanwhile) >= done + 2, what="work after the migration")
        (tmp_path / "new").mkdir()
        new_api = stack.enter_context(run_api(tmp_path / "new", environment))
        new = stack.enter_context(new_api.client())
        # A page that one has cached is right in the other, whose columns are others.
        shown = rows(old)
        assert set(rows(new)) == set(shown)
        assert "sent_at" in next(iter(rows(new).values()))
        for client, other in ((old, new), (new, old)):
            assert upload(client, 50) in rows(other)
        with run_worker(tmp_path, environment, tree=ROOT):
            started(
                lambda: {state(new, one) for one in (*before, *meanwhile)} == {"processed"},
                within_seconds=WITHIN,
                what="the newer worker's work",
            )
        later = upload(new, 60)
        new_api.process.stop()
        old_api.process.stop()
        rolled_back(tmp_path, environment, previous, later)


def rolled_back(folder: Path, environment: dict[str, str], previous: Path, later: int) -> None:
    """The older API starts again on the newer schema, and its worker processes what came ``later``."""
    with run_api(folder, environment, tree=previous) as again, again.client() as client:
        waiting = [later, upload(client, 70)]
        with run_worker(folder, environment, tree=previous):
            started(
                lambda: {state(client, one) for one in waiting} == {"processed"},
                within_seconds=WITHIN,
                what="the older worker's work",
            )
    code, said = docservice(previous, environment, "migrate")
    assert (code, "unknown" in said) == (1, True), said
