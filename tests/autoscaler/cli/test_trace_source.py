"""Where the back-test gets its trace: files and Prometheus, each fault in one line."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from autoscaler.cli.simulate import command as simulate_command
from autoscaler.cli.tune import command as tune_command
from autoscaler.simulation.prometheus import ARRIVALS
from tests.support.simulate import START, TASKS, Answer, matrix, prometheus, run, steady, written

if TYPE_CHECKING:
    from pathlib import Path

    from click import Command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "",
            "trace.csv: it is empty; its first row must be 'offset_s,service_s'",
            id="empty",
        ),
        pytest.param(
            "offset_s,service_s\n",
            "trace.csv: there is no task in it; a trace has one or more",
            id="a header alone",
        ),
        pytest.param(
            "when,took\n1,2\n",
            (
                "trace.csv, row 1: the header is 'when,took'; it must be offset_s,service_s for tasks, or"
                " offset_s,count or timestamp,value for counts"
            ),
            id="another header",
        ),
        pytest.param(
            "offset_s,service_s\n1,2\n3\n", "trace.csv, row 3: 1 cells where 2 belong", id="a short row"
        ),
        pytest.param(
            "offset_s,service_s\n1,fast\n",
            "trace.csv, row 2: service_s is 'fast'; it must be seconds",
            id="not a number",
        ),
        pytest.param(
            "offset_s,service_s\n1,-2\n",
            "trace.csv, row 2: service_s is '-2'; it must be 0 to 31622400 seconds",
            id="negative",
        ),
        pytest.param(
            "offset_s,service_s\n1,nan\n",
            "trace.csv, row 2: service_s is 'nan'; it must be 0 to 31622400 seconds",
            id="not finite",
        ),
        pytest.param(
            "offset_s,service_s\n1,1\n1e300,1\n",
            "trace.csv, row 3: offset_s is '1e300'; it must be 0 to 31622400 seconds",
            id="huge",
        ),
        pytest.param(
            "offset_s,service_s\n5,1\n4,1\n",
            "trace.csv, row 3: offset_s is 4, before 5 of the row above; sort it",
            id="unsorted",
        ),
        pytest.param(
            "offset_s,count\n0,3\n60,4\n",
            "trace.csv: it has counts and no service times; give --service-mean SECONDS",
            id="counts without a service time",
        ),
        pytest.param(
            b"\xff\xfe\x00", "trace.csv, row 1: it is not text in UTF-8", id="not text, from the begin"
        ),
        pytest.param(
            b"offset_s,service_s\n1,1\n2,\xff\n" + b"3,1\n" * 4000,
            "trace.csv, row 3: it is not text in UTF-8",
            id="not text, later",
        ),
    ],
)
@pytest.mark.parametrize("command", [simulate_command, tune_command], ids=["simulate", "tune"])
def test_a_trace_with_a_fault_ends_with_one_line_and_2(
    tmp_path: Path, command: Command, text: str | bytes, message: str
):
    done = run(command, written(tmp_path, text))
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"autoscaler: {message}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "0,3\n0,4\n", "row 3: its time '0' is not after that of the row above; sort it", id="twice"
        ),
        pytest.param("0,-1\n60,4\n", "row 2: the count is '-1'; it must be 0 to 20000000", id="negative"),
        pytest.param("0,1e12\n60,4\n", "row 2: the count is '1e12'; it must be 0 to 20000000", id="huge"),
        pytest.param(
            "0,2.5\n60,4\n", "row 2: the count is '2.5'; it must be 0 to 20000000", id="half a task"
        ),
    ],
)
def test_counts_with_a_fault_end_with_one_line_and_2(tmp_path: Path, text: str, message: str):
    done = run(simulate_command, written(tmp_path, "offset_s,count\n" + text), "--service-mean", 1)
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: trace.csv, {message}\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    path = tmp_path / "none.csv"
    done = run(simulate_command, path)
    assert (done.exit_code, done.stderr) == (
        2,
        f"autoscaler: {path}: it cannot be read: No such file or directory\n",
    )


def test_exactly_one_source_is_taken(tmp_path: Path):
    path = written(tmp_path, TASKS)
    both = run(simulate_command, path, "--prometheus", "http://127.0.0.1:1")
    none = run(simulate_command)
    line = "autoscaler: give either a TRACE file or --prometheus URL\n"
    assert [(done.exit_code, done.stderr) for done in (both, none)] == [(2, line)] * 2


def test_simulate_reads_prometheus_and_reports_what_is_missing():
    with prometheus(steady) as (url, _):
        done = run(
            simulate_command,
            *("--prometheus", url, "--start", START, "--end", "2023-11-14T22:18:20", "--step", "30s"),
            *("--no-peers", "--json"),
        )
    assert (done.exit_code, json.loads(done.stdout)["tasks"], done.stderr) == (
        0,
        540,
        "autoscaler: 2 of 11 steps have no sample and count as idle\n",
    )


def test_a_password_goes_to_the_server_and_into_no_message():
    with prometheus(lambda _: (401, b"who are you?")) as (url, asked):
        secret = url.replace("http://", "http://reader:s%40crt@")
        done = run(simulate_command, "--prometheus", secret)
    assert asked[0]["authorization"] == "Basic cmVhZGVyOnNAY3J0"
    assert (done.exit_code, done.stderr) == (1, f"autoscaler: {url} answers 401: Unauthorized\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            matrix(),
            f"has no samples of {ARRIVALS}{{}} in that span; is the daemon scraped?",
            id="no such series",
        ),
        pytest.param(
            matrix(({"queues": "a"}, {START: 1}), ({"queues": "b"}, {START: 1})),
            """has 2 groups of queues: 'a', 'b'; choose one, as in --select 'queues="mails"'""",
            id="several groups",
        ),
        pytest.param(
            (400, b'{"status":"error","errorType":"bad_data","error":"parse\\nerror"}'),
            "answers 400: parse error",
            id="its own words in one line",
        ),
        pytest.param((503, b"<html>"), "answers 503: Service Unavailable", id="no JSON"),
        pytest.param(
            (302, b""),
            "answers 302: it leads elsewhere; give the address that it leads to",
            id="a redirect is not followed",
        ),
        *(
            pytest.param(
                (200, body),
                "does not answer like a Prometheus; its address ends before /api/v1",
                id=f"another server: {body.decode()}",
            )
            for body in (
                b"hello",
                b"[]",
                b'{"status":"success"}',
                b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1]]}]}}',
                b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":7}]}}',
            )
        ),
    ],
)
def test_what_a_server_does_wrong_is_one_line(answer: Answer, message: str):
    with prometheus(lambda _: answer) as (url, _):
        done = run(simulate_command, "--prometheus", url, "--start", "1h")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"autoscaler: {url} {message}\n")


def test_a_server_that_does_not_answer_is_reported_within_the_timeout():
    release = threading.Event()

    def unanswered(_: dict[str, str]) -> Answer:
        release.wait(20)
        return 200, b""

    with prometheus(unanswered) as (url, _):
        begun = time.monotonic()
        done = run(simulate_command, "--prometheus", url, "--timeout", "0.5")
        took = time.monotonic() - begun
        release.set()
    assert (done.exit_code, done.stderr, took < 5) == (
        1,
        f"autoscaler: {url} does not answer within 0.5 s; see the address, or give a longer --timeout\n",
        True,
    )


def test_a_server_that_sends_headers_without_end_is_reported_within_the_timeout():
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.1):
                    peer.sendall(b"X: y\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        try:
            done = run(simulate_command, "--prometheus", url, "--timeout", "0.5")
        finally:
            ended.set()
            thread.join()
    assert (done.exit_code, done.stderr) == (
        1,
        f"autoscaler: {url} does not answer within 0.5 s; see the address, or give a longer --timeout\n",
    )


def test_a_server_that_is_not_there_is_named():
    done = run(simulate_command, "--prometheus", "http://127.0.0.1:1")
    assert (done.exit_code, done.stderr) == (
        1,
        "autoscaler: http://127.0.0.1:1 cannot be read: [Errno 111] Connection refused\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("localhost:9090",), "the address of Prometheus must be a URL, as in http://localhost:9090"),
        (("file:///etc/passwd",), "the address of Prometheus must be a URL, as in http://localhost:9090"),
        (
            ("http://h", "--start", "yesterday"),
            "--start is 'yesterday'; it must be a time as in 2026-01-31T08:00, Unix seconds, or as long ago as 24h",  # noqa: E501
        ),
        (
            ("http://h", "--start", "200", "--end", "100"),
            "the span from 200 to 100 is empty; its start must be before its end",
        ),
        (
            ("http://h", "--start", "100", "--end", "200", "--step", "0s"),
            "the step is 0 s; it must be 1 s or more and not above the span of 100 s",
        ),
        (
            ("http://h", "--start", "100", "--end", "2000100", "--step", "1s"),
            "the span has 2000001 steps; at most 1000000 are read: give a longer step",
        ),
    ],
)
def test_a_range_with_a_fault_ends_with_2_before_anything_connects(words: tuple[str, ...], message: str):
    done = run(simulate_command, "--prometheus", *words)
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: {message}\n")
