"""Each `curl` of the documents, sent to a real service and worker, gets the answer that they promise."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from autoscaler.demo.embedded import PostgresServer, Process, RedisServer, free_port
from tests.docs.markdown import TOP, blocks
from tests.support.cluster import Cluster, started
from tests.support.plain_http import answers, http_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Service:
    """A running document service, and how to run its commands."""

    url: str
    environment: dict[str, str]
    cluster: Cluster

    def command(self, *words: str) -> str:
        """What ``docservice`` prints."""
        return subprocess.run(
            (sys.executable, "-m", "docservice", *words),
            env={**os.environ, **self.environment},
            cwd=TOP,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    def curl(self, line: str, token: str, files: Path) -> httpx.Response:
        """Send what a line of curl would send, as far as the documents use curl."""
        words = iter(shlex.split(line.replace("$TOKEN", token).replace("$(uuidgen)", "a-key")))
        assert next(words) == "curl"
        headers, body, upload, path = {}, None, {}, ""
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words)
            elif word == "-F":
                name, _, file = next(words).partition("=@")
                upload[name] = (file, (files / file).read_bytes())
            else:
                assert urlsplit(word).netloc == "127.0.0.1:8000", word
                path = word.partition("127.0.0.1:8000")[2]
        method = "POST" if body or upload else "GET"
        with http_client(self.url, timeout=60) as client:
            return client.request(method, path, headers=headers, content=body, files=upload or None)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory() as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o711)  # Postgres runs as another user when we are root
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        server = stack.enter_context(RedisServer(folder / "redis"))
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": server.url,
            "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
        }
        port = free_port()
        cluster = Cluster(folder=folder, stack=stack, server=server)
        running = Service(f"http://127.0.0.1:{port}", environment, cluster)
        running.command("migrate")
        command = (sys.executable, "-m", "docservice", "api", "--port", str(port))
        api = stack.enter_context(Process(command, log_path=folder / "api.log", environment=environment))
        api.wait_until(
            lambda: answers(f"{running.url}/livez"), within_seconds=60, what="the API's first answer"
        )
        yield running


def curls(page: str) -> list[str]:
    """The curl commands of a page, one line each."""
    lines = [
        line
        for block in blocks((TOP / page).read_text())
        for line in re.sub(r"\\\n *", "", block).splitlines()
    ]
    return [line for line in lines if line.startswith("curl ")]


@pytest.mark.parametrize("page", ["README.md", "docs/document-service.md"])
def test_a_file_is_uploaded_and_a_page_is_answered(service: Service, page: str, tmp_path: Path):
    service.command("samples", str(tmp_path), "--mails", "1", "--pdfs", "0")
    (mail,) = tmp_path.glob("*.eml")
    mail.rename(tmp_path / "mail.eml")
    token = service.command("token", "create", "--name", "ann", "--role", "operator")
    upload, grid = curls(page)
    accepted = service.curl(upload, token, tmp_path)
    assert (accepted.status_code, accepted.json()["success"]) == (202, True)
    assert accepted.json()["data"]["documents"][0]["file_name"] == "mail.eml"
    asked = service.curl(grid, token, tmp_path)
    assert (asked.status_code, set(asked.json()["data"])) == (
        200,
        {"rows", "total", "total_capped", "total_estimate", "next_cursor"},
    )


def test_an_administrator_inspects_grows_pauses_and_drains(service: Service, tmp_path: Path):
    service.cluster.worker("celery@w1", processes=1)
    service.cluster.worker("celery@w2", processes=1)
    token = service.command("token", "create", "--name", "ann", "--role", "system_admin")
    inspect, grow, pause, drain = curls("docs/admin-api.md")

    def size() -> int:
        found = service.curl(inspect, token, tmp_path).json()["data"]
        return {one["worker"]: one.get("size") for one in found}["celery@w1"]

    assert size() == 1
    grown = service.curl(grow, token, tmp_path)
    assert (grown.status_code, grown.json()["data"][0]["outcome"]) == (200, "resized"), grown.text
    assert size() == 3
    again = service.curl(grow, token, tmp_path)
    assert (again.status_code, again.json()["data"]) == (200, grown.json()["data"])
    assert size() == 3, "the same Idempotency-Key: nothing happens twice"
    paused = service.curl(pause, token, tmp_path)
    assert (paused.status_code, paused.json()["data"]["paused"]) == (200, True)
    begun = service.curl(drain, token, tmp_path)
    assert begun.status_code == 202, begun.text

    def state() -> str:
        address = service.url + begun.json()["data"]["status_url"]
        with http_client(token=token) as client:
            return client.get(address).json()["data"]["state"]

    started(lambda: state() == "done", within_seconds=90, what="the drain")
    worker = service.cluster.workers["celery@w1"]
    started(lambda: worker.exit_code is not None, what="the end of the worker")
