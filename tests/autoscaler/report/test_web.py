"""The pages, over real HTTP."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.report.web import serving
from tests.support.web import Site, healthcheck


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
    line = "these pages are read by GET and HEAD\n"
    assert serve().get("/status", method) == (405, "text/plain", line)


def test_a_probe_by_head_has_the_headers_and_no_body(serve):
    site = serve()
    assert site.get("/livez", "HEAD") == (200, "text/plain", "")
    site.live = "no tick has ended for 40 s"
    assert site.get("/livez", "HEAD") == (503, "text/plain", "")


def test_what_is_no_request_is_answered_in_one_line(serve):
    with socket.create_connection(("127.0.0.1", serve().port), timeout=5) as peer:
        peer.sendall(b"nonsense\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(4096), b"")).decode()
    assert "<html" not in answer
    assert answer.splitlines()[-1].startswith("Bad request syntax")


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
