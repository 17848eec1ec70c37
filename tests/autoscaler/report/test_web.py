"""The pages, over real HTTP."""

from __future__ import annotations

import http.client
import io
import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.cli.main import main
from autoscaler.report.log import get_logger
from autoscaler.report.web import Pages, page_failures, serving


def healthcheck(*words, **environment):
    done = CliRunner().invoke(main, ["healthcheck", *words], env=environment)
    return done.exit_code, done.stdout, done.stderr


@dataclass
class Site:
    """Pages whose answers a test sets, and where they are."""

    live: str | None = None
    ready: str | None = None
    status: dict[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    log: io.StringIO = field(default_factory=io.StringIO)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def pages(self) -> Pages:
        log = get_logger(level="info", style="json", redact=str, stream=self.log)
        return Pages(
            live=lambda: self.live,
            ready=lambda: self.ready,
            status=lambda: self.status,
            registry=self.registry,
            failed=page_failures(log, self.registry),
        )

    def get(self, path, method="GET", **headers):
        peer = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            peer.request(method, path, headers=headers)
            answer = peer.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()
        finally:
            peer.close()


@pytest.fixture
def serve():
    with ExitStack() as stack:

        def start(host="127.0.0.1"):
            site = Site(host=host)
            Counter("seen", "About.", registry=site.registry).inc(3)
            pages = site.pages()
            site.port = stack.enter_context(serving(pages, host, 0))
            return site

        yield start


@pytest.mark.parametrize(("path", "part"), [("/livez", "live"), ("/readyz", "ready")])
def test_a_probe_turns_with_what_it_asks(serve, path, part):
    site = serve()
    answers = [site.get(path)]
    setattr(site, part, "no tick has ended for 40 s")
    answers.append(site.get(path))
    setattr(site, part, None)
    answers.append(site.get(f"{path}?verbose"))
    ok = (200, "text/plain", "ok\n")
    assert answers == [ok, (503, "text/plain", "no tick has ended for 40 s\n"), ok]


def test_one_probe_does_not_turn_the_other(serve):
    site = serve()
    site.ready = "Redis was last read 40 s ago"
    assert (site.get("/livez")[0], site.get("/readyz")[0]) == (200, 503)


def test_status_is_json_of_this_moment(serve):
    site = serve()
    for value in ({"at": None}, {"queue": 'ü"\n', "n": [1, 2.5, None]}):
        site.status = value
        code, kind, body = site.get("/status")
        assert (code, kind, json.loads(body)) == (200, "application/json", value)


def test_metrics_are_what_prometheus_reads(serve):
    code, kind, body = serve().get("/metrics")
    families = list(text_string_to_metric_families(body))
    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert {sample.name: sample.value for one in families for sample in one.samples}["seen_total"] == 3
    code, kind, body = serve().get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (code, kind.partition(";")[0], body.splitlines()[-1]) == (
        200,
        "application/openmetrics-text",
        "# EOF",
    )


@pytest.mark.parametrize("path", ["/", "/livez/", "/../etc/passwd", "/metrics2", "/%2e%2e/status"])
def test_anything_else_is_not_found_and_says_what_there_is(serve, path):
    assert serve().get(path) == (404, "text/plain", "try /livez /readyz /metrics /status\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(serve, method):
    assert serve().get("/status", method)[0] == 501


def test_a_slow_client_keeps_nobody_waiting_and_does_not_hold_up_the_end(serve):
    site = serve()
    with ExitStack() as stack:
        for words in (b"", b"GET /live", b"GET /metrics HTTP/1.1\r\nX: "):
            slow = stack.enter_context(socket.create_connection((site.host, site.port)))
            slow.sendall(words)
        assert site.get("/livez")[0] == 200


def test_a_client_that_hangs_up_or_speaks_no_http_harms_nobody(serve):
    site = serve()
    for words in (
        b"GET /metrics HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x00" * 70_000,
        b"GET\r\n\r\n",
    ):
        with socket.create_connection((site.host, site.port)) as rude:
            rude.sendall(words)
    assert site.get("/livez")[0] == 200
    assert site.log.getvalue() == ""


def test_a_page_that_fails_is_answered_logged_with_its_trace_and_counted(serve):
    site = serve()
    site.status = {"no json": object()}
    assert site.get("/status") == (500, "text/plain", "see the log\n")
    line = json.loads(site.log.getvalue())
    assert (line["event"], line["path"], line["level"]) == ("page.failed", "/status", "error")
    assert "TypeError: Object of type object is not JSON serializable" in line["exception"]
    assert 'celery_autoscaler_page_failures_total{path="/status"} 1.0' in site.get("/metrics")[2]
    assert site.get("/livez")[0] == 200


def test_the_port_is_free_again_afterwards(serve):
    site = serve()
    with serving(Site().pages(), "127.0.0.1", 0) as port:
        assert port != site.port
    with pytest.raises(ConnectionRefusedError):
        Site(port=port).get("/livez")


def test_a_port_that_is_taken_is_reported(serve):
    with pytest.raises(OSError, match="in use"), serving(Site().pages(), "127.0.0.1", serve().port):
        pass


def test_it_listens_on_ipv6_too(serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    site = serve("::1")
    assert site.get("/livez")[0] == 200
    found = healthcheck("--listen", f"[::1]:{site.port}")
    assert found == (0, "ok\n", "")


def test_the_healthcheck_asks_the_page_it_is_told_and_no_proxy(serve):
    site = serve()
    site.ready = "Redis was last read 40 s ago"
    where = {"AUTOSCALER_LISTEN": f"0.0.0.0:{site.port}", "http_proxy": "http://127.0.0.1:1"}
    assert healthcheck(**where) == (0, "ok\n", "")
    assert healthcheck("--ready", **where) == (1, "", "autoscaler: Redis was last read 40 s ago\n")


@pytest.mark.slow
def test_a_healthcheck_without_a_daemon_says_so(serve):
    del serve
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        # It takes the connection and says nothing.
        code, out, err = healthcheck("--listen", f"127.0.0.1:{port}")
    assert (code, out, err) == (
        1,
        "",
        f"autoscaler: the daemon does not answer on 127.0.0.1:{port}: timed out\n",
    )
    assert healthcheck("--listen", "h:x") == (
        2,
        "",
        "autoscaler: --listen is 'h:x'; it must be HOST:PORT, for instance 0.0.0.0:9809\n",
    )
