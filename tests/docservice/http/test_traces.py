"""From an upload to the processed document it is one trace, and a collector is never in the way."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.demo.embedded import RedisServer
from docservice.dev.samples import sample_mail
from tests.docservice.conftest import Servers, _execute, fresh_database, run_api, run_worker
from tests.support.cluster import started
from tests.support.collector import collecting

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WITHIN = 90
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UPLOAD = "POST /modules/{module}/documents"


def upload(client: httpx.Client, number: int, **headers: str) -> int:
    files = [("file", (f"{number}.eml", sample_mail(number), "message/rfc822"))]
    answer = client.post("/modules/mail/documents", files=files, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]["documents"][0]["id"]


def states(client: httpx.Client) -> Any:
    rows = client.get("/modules/mail/grid", params={"limit": 500}).json()["data"]["rows"]
    return Counter(row["state"] for row in rows)


def test_an_upload_its_messages_and_its_processing_are_one_trace_also_where_the_sweeper_sends_again(
    servers: Servers, tmp_path: Path
) -> None:
    with fresh_database(servers) as database_url, collecting() as collector, ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
        }
        api = stack.enter_context(run_api(tmp_path, environment, **collector.environment))
        client = stack.enter_context(api.client())
        mail = upload(client, 1, traceparent=f"00-{TRACE}-{CALLER}-01")
        started(lambda: collector.named("send celery"), what="the message")
        # Its message is lost.
        redis.stop()
        redis.start()
        long_ago = "update documents set enqueued_at = now() - interval '1 hour'"
        asyncio.run(_execute(database_url, long_ago))
        started(lambda: len(collector.named("send celery")) == 2, within_seconds=WITHIN, what="the sweep")
        stack.enter_context(run_worker(tmp_path, {**environment, **collector.environment}))
        started(lambda: states(client) == {"processed": 2}, within_seconds=WITHIN, what="mail and attachment")
        started(lambda: len(collector.named("process celery")) == 2, within_seconds=WITHIN, what="the spans")
        params = {"mail_number.prefix": "MN-SECRET", "limit": "1"}
        assert client.get("/modules/mail/grid", params=params).status_code == 200
        started(lambda: collector.named("GET /modules/{module}/grid"), what="the span of a page")
        started(lambda: len(collector.named("send celery")) == 3, what="the attachment's message")
        bodies = b"".join(collector.bodies)
        ours = [one for one in collector.spans if one.trace == TRACE]
        probes = [one.name for one in collector.spans if "livez" in one.name or "readyz" in one.name]
    require_one_trace(ours, mail)
    assert probes == []
    secrets = [*api.tokens.values(), "MN-SECRET", database_url.split(":")[2].partition("@")[0]]
    assert [text for text in secrets if text.encode() in bodies] == []


def require_one_trace(ours: list[Any], mail: int) -> None:
    """Of an upload, its three messages, and the processing of the mail and of its attachment."""
    (root,) = [one for one in ours if one.name == UPLOAD]
    assert (root.parent, root.kind, root.service, root.failed) == (CALLER, "server", "docservice-api", False)
    assert root.attributes.pop("docservice.request_id")
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/modules/{module}/documents",
        "http.response.status_code": 202,
    }
    sent = [one for one in ours if one.name == "send celery"]
    by = sorted(
        (one.attributes["docservice.sent_by"], one.attributes["docservice.document.id"]) for one in sent
    )
    attachment = mail + 1
    assert by == [("sweeper", mail), ("upload", mail), ("worker", attachment)]
    done = {one.attributes["docservice.document.id"]: one for one in ours if one.name == "process celery"}
    assert (set(done), done[mail].parent, done[attachment].parent) == (
        {mail, attachment},
        root.span,
        done[mail].span,
    )
    assert done[mail].attributes == {
        "messaging.system": "redis",
        "messaging.operation.type": "process",
        "messaging.destination.name": "celery",
        "docservice.document.id": mail,
        "docservice.document.type": "email",
        "docservice.module": "mail",
        "docservice.attempt": 1,
        "docservice.result": "processed",
    }
    assert len(ours) == 6


def test_a_collector_that_hangs_delays_neither_uploads_nor_work_nor_the_end(
    servers: Servers, tmp_path: Path
) -> None:
    with (
        fresh_database(servers) as database_url,
        socket.create_server(("127.0.0.1", 0), backlog=50) as hanging,
        ExitStack() as stack,
    ):
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": stack.enter_context(RedisServer(tmp_path / "redis")).url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
        }
        traced = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:s3cret@127.0.0.1:{hanging.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        api = stack.enter_context(run_api(tmp_path, environment, **traced))
        client = stack.enter_context(api.client())
        work = stack.enter_context(run_worker(tmp_path, {**environment, **traced}))
        upload(client, 1)
        started(lambda: states(client) == {"processed": 2}, within_seconds=WITHIN, what="mail and attachment")
        for process in (api.process, work):
            started(
                lambda process=process: "traces.lost" in process.log(), within_seconds=WITHIN, what="the line"
            )
        api.process.stop_within_seconds = 30
        assert api.process.stop() in (0, -15)  # uvicorn ends by the signal that it was sent
        said = api.process.log() + work.log()
    assert (said.count("traces.lost"), "s3cret" in said, "Traceback" in said) == (2, False, False)
