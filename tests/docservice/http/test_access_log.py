"""Requests in the access log and in the metrics, of one process and of several."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from autoscaler.demo.embedded import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docservice.http.calls import Live


def test_the_access_log_has_a_line_for_each_request_and_no_token(live: Live) -> None:
    with live.client("viewer") as client:
        client.get(
            "/modules/mail/grid", params={"title": "very private"}, headers={"X-Request-ID": "find-me"}
        )
    wait_until(lambda: "find-me" in live.process.log(), within_seconds=60, what="the line in the access log")
    (line,) = [json.loads(line) for line in live.process.log().splitlines() if "find-me" in line]
    assert {name: line[name] for name in ("event", "method", "path", "status", "remote_address")} == {
        "event": "http.request",
        "method": "GET",
        "path": "/modules/mail/grid",
        "status": 200,
        "remote_address": "127.0.0.1",
    }
    log = live.process.log()
    assert not any(token in log for token in live.tokens.values())
    assert "very private" not in log
    assert urlsplit(live.database_url).password not in log


@pytest.mark.slow
def test_several_processes_of_one_api_are_counted_together(
    live: Live, tmp_path: Path, api_runner: Any
) -> None:
    environment = {**live.environment, "DOCSERVICE_WORKERS": "2"}
    with api_runner(tmp_path, environment) as running:
        with running.client() as client:  # there is such a module then
            client.post("/modules/mail/documents", files=[("file", ("a.txt", b"text", "text/plain"))])
        for _ in range(20):  # each on a connection of its own, so that both processes get some
            with running.client("viewer") as client:
                assert client.get("/modules/mail/grid").status_code == 200
        with running.client(None) as client:

            def counted() -> float:
                text = client.get("/metrics").text
                found = re.search(r'route="/modules/\{module\}/grid",status="200"\} ([\d.]+)', text)
                return float(found[1]) if found else 0

            # What the other process answered last is counted a moment later.
            wait_until(lambda: counted() >= 20, within_seconds=60, what="the count of all requests")
            assert counted() == 20


def run_python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def test_a_line_is_written_whatever_its_values_are() -> None:
    written = run_python(
        "from docservice.log import configure_log, logger; import logging; configure_log()\n"
        "logger('x').info('odd', text='\\ud800', number=10**30, other={1, 2})\n"
        "logging.getLogger('y').warning('\\ud800')"
    )
    first, second = [json.loads(line) for line in written.splitlines()]
    assert (first["event"], first["text"], first["number"]) == ("odd", "\ud800", 10**30)
    assert (second["part"], second["event"]) == ("y", "\ud800")


def test_the_gauges_of_a_process_that_is_gone_are_forgotten(tmp_path: Path) -> None:
    program = "from docservice.metrics import Metrics; m = Metrics(); m.redis_up.set({}); {}"
    folder = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run_python(program.format(0, "m.requests.labels('/', 'GET', '200').inc()"), **folder)
    text = run_python(program.format(1, "print(m.text().decode())"), **folder)
    assert "\ndocservice_redis_up 1.0\n" in text
    assert 'docservice_http_requests_total{method="GET",route="/",status="200"} 1.0' in text, "counters stay"
