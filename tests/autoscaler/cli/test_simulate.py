"""`simulate` and `tune`: from a file or a Prometheus to a table, and bad input by its row."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from autoscaler.cli.simulate import command as simulate_command
from autoscaler.cli.tune import command as tune_command
from autoscaler.settings.table import PARAMETERS
from autoscaler.simulation import workloads
from autoscaler.simulation.prometheus import ARRIVALS, SERVICE, Prometheus, PrometheusError, Span
from autoscaler.simulation.traces import TraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click import Command
    from click.testing import Result

#: A proxy or a setting of the machine must not reach the command.
CLEAN = {
    "NO_PROXY": "*",
    "AUTOSCALER_TARGET_WAIT": None,
    **{parameter.variable: None for parameter in PARAMETERS},
}
TASKS = "offset_s,service_s\n0,1\n0.5,1\n0.5,2\n30,1\n"


def run(command: Command, *words: object, **environment: str) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], env={**CLEAN, **environment})


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Files


def test_simulate_prints_our_ways_beside_the_peers(tmp_path: Path):
    done = run(simulate_command, written(tmp_path, TASKS), "--max", "4")
    lines = done.output.splitlines()
    assert (done.exit_code, lines[0]) == (
        0,
        "trace.csv: 4 tasks in 30 s, target wait 5 s; cost is process-seconds over seconds of work",
    )
    assert [re.sub(r" [0-9.%,]+$", "", line.split("  ")[0]) for line in lines[4:-2]] == [
        "latency 5 s",
        "thresholds",
        "fixed",
        "celery 5.7 --autoscale",
        "celery 5.5 --autoscale",
        "keda list length",
        "knative kpa",
        "aws backlog per instance",
    ]
    assert " is the cheapest that starts 99% of the tasks within 5 s: cost " in lines[-1]


def test_simulate_gives_every_figure_as_json(tmp_path: Path):
    # Each waits until the second tick at 2 s: the work there is.
    done = run(
        simulate_command,
        written(tmp_path, "offset_s,service_s\n0,4\n0.5,2\n6,3\n"),
        *("--max", 1, "--no-peers", "--json", "--target-wait", "2s"),
    )
    figures = {
        "within_target": pytest.approx(2 / 3),
        "wait_p50_seconds": 0.0,
        "wait_p95_seconds": 3.5,
        "wait_p99_seconds": 3.5,
        "cost": 1.0,
        "process_seconds": 9.0,
        "starts": 0,
        "changes": 0,
        "peak_processes": 1,
    }
    assert (done.exit_code, json.loads(done.output)) == (
        0,
        {
            "trace": "trace.csv",
            "tasks": 3,
            "duration_seconds": 6.0,
            "target_wait_seconds": 2.0,
            "policies": [{"policy": "latency 2 s", **figures}, {"policy": "thresholds", **figures}],
            "result": "No policy starts 99% of the tasks within 2 s; latency 2 s comes nearest with 66.67%",
        },
    )


def test_counts_are_drawn_the_same_each_time_from_a_service_model(tmp_path: Path):
    path = written(tmp_path, "timestamp,value\n2026-01-01 00:00:00,40\n2026-01-01 00:05:00,0\n")
    words = (path, "--service-mean", "2", "--service-cv", "0.5", "--no-peers", "--json")
    first, second, other = (run(simulate_command, *words, "--seed", seed) for seed in (1, 1, 2))
    found = json.loads(first.output)
    assert (found["tasks"], found["duration_seconds"]) == (40, 600.0)
    assert first.output == second.output != other.output


def test_flags_and_variables_of_the_daemon_reach_its_decider(tmp_path: Path):
    trace = workloads.on_off(seed=1, seconds=600)
    rows = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
    path = written(tmp_path, "offset_s,service_s\n" + "\n".join(f"{at},{takes}" for at, takes in rows))
    peaks = [
        json.loads(run(simulate_command, path, "--no-peers", "--json", *words, **variables).output)
        for words, variables in (
            (("--max", "7"), {}),
            ((), {"AUTOSCALER_MAX": "9"}),
            (("--max-step-up", "2", "--scale-up-cooldown", "300"), {}),
        )
    ]
    found = [[policy["peak_processes"] for policy in one["policies"]] for one in peaks]
    assert (found[0], found[1], found[2][1] <= 5) == ([7, 7], [9, 9], True)


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
            "trace.csv, row 1: the header is 'when,took'; it must be 'offset_s,service_s'",
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target-wait", "soon"), "'soon'; it must be a time, as in 5s, 500ms or 2m"),
        (("--target-wait", "mails=5s"), "'mails=5s'; one queue is simulated: give its time alone, as in 5s"),
        (("--start-delay", "-1s"), "'-1s'; it must be a time, as in 30s, 5m, 2h or 1d"),
        (("--interval", "0"), "'0'; it must be a number from 0.2 to 300 (seconds)"),
        (("--max", "0"), "--max is '0'; it must be a whole number from 1 to 10000 (processes), or auto"),
        (("--min", "100"), "max_processes is 64, below min_processes, which is 100"),
    ],
)
def test_an_option_with_a_fault_is_named_with_what_is_legal(
    tmp_path: Path, words: tuple[str, ...], message: str
):
    done = run(simulate_command, written(tmp_path, TASKS), *words)
    assert (done.exit_code, message in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_plot_is_refused_before_the_simulation_or_drawn(tmp_path: Path):
    path = written(tmp_path, TASKS)
    done = run(simulate_command, path, "--no-peers", "--plot", tmp_path / "out.png")
    if importlib.util.find_spec("matplotlib") is None:
        assert (done.exit_code, done.stdout, done.stderr) == (
            1,
            "",
            (
                "autoscaler: matplotlib is not installed; run: pip install 'celery-pool-autoscaler[plot]'"
                " (in a checkout: uv run --extra plot autoscaler ...)\n"
            ),
        )
    else:
        assert (done.exit_code, (tmp_path / "out.png").read_bytes()[:4]) == (0, b"\x89PNG")
        assert done.stderr == f"autoscaler: the plot was written to {tmp_path / 'out.png'}\n"
        done = run(tune_command, path, "--plot", tmp_path / "tuned.png")
        assert (done.exit_code, (tmp_path / "tuned.png").read_bytes()[:4]) == (0, b"\x89PNG")


def test_a_trace_that_would_take_hours_is_refused(tmp_path: Path):
    path = written(tmp_path, "offset_s,service_s\n0,1\n31536000,1\n")
    done = run(simulate_command, path, "--interval", "2")
    fault = "it lasts 31536000 s, more than 2000000 ticks of --interval 2; cut the trace, or raise --interval"
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: {path.name}: {fault}\n")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            "0,1\n1,31536000\n2,1\n",
            (
                "task 2 runs for 3.1536e+07 s and ends at 31536001 s, more than 2000000 ticks of --interval"
                " 2; correct its service time, or raise --interval"
            ),
        ),
        (
            "0,3000000\n" * 2,
            (
                "its work lasts 6000000 s on 1 processes, more than 2000000 ticks of --interval 2;"
                " raise --max, or --interval"
            ),
        ),
    ],
    ids=["one task of a year", "much work on one process"],
)
def test_service_times_that_would_take_hours_are_refused_at_once(tmp_path: Path, rows: str, fault: str):
    path = written(tmp_path, f"offset_s,service_s\n{rows}")
    done = run(simulate_command, path, "--interval", "2", "--max", "1")
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: {path.name}: {fault}\n")


@pytest.mark.parametrize("told", ["off", "mails=30s", "7s mails=30s"])
def test_a_target_of_the_daemons_environment_is_taken_for_what_it_says_of_all_queues(
    tmp_path: Path, told: str
):
    path = written(tmp_path, TASKS)
    done = run(simulate_command, path, "--no-peers", "--json", AUTOSCALER_TARGET_WAIT=told)
    assert json.loads(done.stdout)["target_wait_seconds"] == (7.0 if "7s" in told else 5.0)


# tune


@pytest.mark.slow
def test_tune_prints_flags_that_simulate_takes_and_that_keep_the_target(tmp_path: Path):
    trace = workloads.on_off(seed=2, seconds=900)
    rows = zip(trace.arrivals_seconds, trace.services_seconds, strict=True)
    path = written(tmp_path, "offset_s,service_s\n" + "\n".join(f"{at},{takes}" for at, takes in rows))
    tuned = run(tune_command, path, "--target-wait", "4s", "--max", "40")
    flags = tuned.output.splitlines()[-1]
    words = ("--json", "--no-peers", *flags.split())
    found = json.loads(run(simulate_command, path, *words).output)["policies"][0]
    as_json = json.loads(run(tune_command, path, "--target-wait", "4s", "--max", "40", "--json").output)
    assert (tuned.exit_code, found["within_target"] >= 0.999) == (0, True)
    assert " ".join(as_json["flags"]) == flags
    assert {**as_json["replayed"], "policy": ""} == {**found, "policy": ""}
    assert len(as_json["policies"]) == 24


def test_tune_prints_no_bound_that_was_not_given(tmp_path: Path):
    path = written(tmp_path, TASKS)
    plain = run(tune_command, path).output.splitlines()[-1].split()
    given = run(tune_command, path, "--min", "2", "--interval", "1").output.splitlines()[-1].split()
    assert plain[::2] == ["--target-wait", "--start-worth", "--release-caution"]
    assert given[6:] == ["--interval", "1", "--min", "2"]


def test_tune_shows_alike_settings_once_and_says_how_it_chose(tmp_path: Path):
    done = run(tune_command, written(tmp_path, TASKS))
    lines = done.output.splitlines()
    rows = lines[4 : lines.index("", 4)]
    figures = [row.rpartition("alike)")[2] or row for row in rows]
    assert len({*figures}) == len(figures) < 8
    start = "Taken: start worth 25, caution 1.5. 24 of 24 settings start 99.90% of the tasks within 5 s"
    chosen = next(line for line in lines if line.startswith("Taken"))
    assert chosen.startswith(start)
    assert "least process-seconds, with 25 s added for each start (--start-worth)" in chosen
    assert chosen.endswith("others came to the same. On a tie fewer starts win, then the flags as given.")


def test_tune_says_when_nothing_keeps_the_target(tmp_path: Path):
    done = run(tune_command, written(tmp_path, "offset_s,service_s\n0,10\n0,10\n"), "--max", "1")
    line = (
        "autoscaler: no setting keeps 5 s for 99.90% of the tasks, the best does for 50.00%;"
        " raise --max or --target-wait, or lower --share\n"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", line)


# Prometheus

Answer = tuple[int, bytes]
START = 1_700_000_000.0


def matrix(*series: tuple[dict[str, str], dict[float, object]]) -> Answer:
    result = [
        {"metric": labels, "values": [[at, str(value)] for at, value in values.items()]}
        for labels, values in series
    ]
    return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


@contextmanager
def prometheus(answer: Callable[[dict[str, str]], Answer]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers range queries; its address and what it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            query |= {"path": parts.path, "authorization": self.headers.get("Authorization", "")}
            asked.append(query)
            code, body = answer(query)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(OSError):  # who waited may have gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def steady(query: dict[str, str]) -> Answer:
    """Two tasks a second of 3 s each, for 5 minutes; one step is missing and one is not a number."""
    if SERVICE in query["query"]:
        return matrix(({"queues": "celery"}, {START + 60: 3.0}))
    rates: dict[float, object] = {START + 30 * step: 2.0 for step in range(11) if step != 4}
    return matrix(({"queues": "celery"}, {**rates, START + 150: "NaN"}))


def test_a_range_of_prometheus_becomes_a_trace():
    with prometheus(steady) as (url, asked):
        span = Span(start=START, end=START + 300, step_seconds=30)
        trace, missing = Prometheus(url).trace(span, select='queues="celery"', variation=0, seed=1)
    assert (len(trace.arrivals_seconds), trace.duration_seconds, missing) == (9 * 60, 330.0, 2)
    assert trace.services_seconds == pytest.approx([3.0] * 540)
    quiet = [at for at in trace.arrivals_seconds if 120 <= at < 180]
    assert quiet == []
    plain = {"path": "/api/v1/query_range", "authorization": "", "step": "30"}
    plain |= {"start": str(START), "end": str(START + 300)}
    assert asked == [
        {**plain, "query": f'max by (queues) ({metric}{{queues="celery"}})'} for metric in (ARRIVALS, SERVICE)
    ]


def test_the_mean_service_time_follows_what_was_known_by_then():
    def changing(query: dict[str, str]) -> Answer:
        if SERVICE in query["query"]:
            return matrix(({}, {START + 60: 1.0, START + 120: 5.0}))
        return matrix(({}, {START + 60 * step: 1 / 60 for step in range(4)}))

    with prometheus(changing) as (url, _):
        span = Span(start=START, end=START + 180, step_seconds=60)
        trace, missing = Prometheus(url).trace(span, variation=0)
    assert (trace.services_seconds, missing) == (pytest.approx([1.0, 1.0, 5.0, 5.0]), 0)


def test_a_long_range_is_read_in_parts_that_the_server_answers():
    with prometheus(steady) as (url, asked):
        Prometheus(url).trace(Span(start=START, end=START + 30 * 10_000, step_seconds=30))
    assert [(one["start"], one["end"]) for one in asked[:2]] == [
        (str(START), str(START + 30 * 9999)),
        (str(START + 300_000), str(START + 300_000)),
    ]


def test_simulate_reads_prometheus_and_tells_what_is_missing():
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


def test_a_negative_rate_is_no_trace():
    with (
        prometheus(lambda _: matrix(({}, {START: -1.0}))) as (url, _),
        pytest.raises(TraceError, match=f"{ARRIVALS} is -1; it must be 0 or more"),
    ):
        Prometheus(url).trace(Span(start=START, end=START + 60, step_seconds=30))


def test_a_server_that_does_not_answer_is_told_within_the_timeout():
    release = threading.Event()

    def silent(_: dict[str, str]) -> Answer:
        release.wait(20)
        return 200, b""

    with prometheus(silent) as (url, _):
        begun = time.monotonic()
        done = run(simulate_command, "--prometheus", url, "--timeout", "0.5")
        took = time.monotonic() - begun
        release.set()
    assert (done.exit_code, done.stderr, took < 5) == (
        1,
        f"autoscaler: {url} does not answer within 0.5 s; see the address, or give a longer --timeout\n",
        True,
    )


def test_a_server_that_sends_one_header_after_the_other_is_told_within_the_timeout():
    told = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not told.wait(0.1):
                    peer.sendall(b"X: y\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        try:
            done = run(simulate_command, "--prometheus", url, "--timeout", "0.5")
        finally:
            told.set()
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


def test_a_bad_address_does_not_show_its_password():
    with pytest.raises(PrometheusError) as caught:
        Prometheus("ftp://me:secret@host")
    assert "secret" not in str(caught.value)
