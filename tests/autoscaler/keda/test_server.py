"""`autoscaler keda`: a client made from KEDA's own proto, over real workers, beside the real daemon."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread

import grpc
import pytest
from click.testing import CliRunner
from prometheus_client import Counter, generate_latest
from structlog import get_logger

from autoscaler.cli.compose_keda import compose_keda, token_reader
from autoscaler.cli.main import main
from autoscaler.demo.embedded import Process, wait_until
from autoscaler.keda.messages import METHODS, SERVICE
from autoscaler.keda.server import Servicer, serve
from autoscaler.settings import table
from autoscaler.settings.load import load
from tests.support.cluster import ROOT, started
from tests.support.keda_client import make_certificate, serving_keda
from tests.support.programs import needs
from tests.support.proxy import Proxy

W1, W2 = "w1@h", "w2@h"
WHOLE = "it must be a whole number from 1 to 10000 (processes)"
TWO = {"processesPerWorker": "2"}
REFUSALS = [
    (
        "target",
        {"processPerWorker": "2"},
        "INVALID_ARGUMENT",
        "metadata 'processPerWorker' is not known; legal are queue, processesPerWorker, scaleIn",
    ),
    (
        "processes",
        {"processesPerWorker": "0"},
        "INVALID_ARGUMENT",
        "metadata processesPerWorker is '0'; it must be a whole number from 1 to 10000",
    ),
    (
        "processes",
        {"scaleIn": "never"},
        "INVALID_ARGUMENT",
        "metadata scaleIn is 'never'; legal are idle, spare",
    ),
    (
        "is_active",
        {"queue": None},
        "INVALID_ARGUMENT",
        "no queue is named; give metadata queue: NAME (several separated by commas), or --queue",
    ),
    (
        "processes",
        {"metric": "cpu"},
        "INVALID_ARGUMENT",
        "metric 'cpu' is not known; there is celery-processes",
    ),
    (
        "target",
        {"queue": "another"},
        "FAILED_PRECONDITION",
        (
            "no worker of queue 'another' has reported how many processes it can hold;"
            " give metadata processesPerWorker, --processes-per-worker or --max"
        ),
    ),
]


@pytest.mark.slow
def test_messages_that_a_killed_worker_had_fetched_keep_one_worker_requested(store, keda):
    started(lambda: not keda.fails(**TWO), what="the first look")
    assert not keda.is_active()
    store.admin.hset("unacked", mapping={"one": "{}", "two": "{}"})
    started(keda.is_active, what="the request for a worker that restores them")
    assert keda.replicas(**TWO) == 1
    store.admin.delete("unacked")
    started(lambda: not keda.is_active(), what="the end of that request")
    assert store.refusals() == []


@pytest.mark.slow
def test_what_a_killed_worker_kept_under_a_key_of_its_own_keeps_one_worker_requested(cluster, store):
    # An own user of the broker may read that key, as the guide for KEDA says.
    store.admin.execute_command("ACL", "SETUSER", "keda", "%R~shop-unacked")
    options = {"unacked_key": "shop-unacked", "visibility_timeout": 3600}
    conf = json.dumps({"broker_transport_options": options, "task_acks_late": True})
    with serving_keda(cluster, store, "--stale-after", "3") as keda:
        worker = cluster.worker(W1, SETTINGS=conf)
        cluster.hold(1)
        started(lambda: cluster.redis.hlen("shop-unacked") == 1, what="the task's start")
        started(keda.answers_active, what="a look that sees it")
        worker.kill()
        started(lambda: keda.fails(**TWO), what="the end of its answers")
        started(lambda: not keda.fails(**TWO), what="its end")
        assert (keda.is_active(), keda.replicas(**TWO)) == (True, 1)
        store.admin.delete("shop-unacked")
        started(lambda: not keda.is_active(), within_seconds=90, what="the end of that request")
        store.admin.set("shop-unacked", "a text")
        code, why = keda.refusal(keda.is_active)
        assert (code, "WRONGTYPE" in why) == ("UNAVAILABLE", True)


@pytest.mark.slow
def test_without_workers_it_wakes_the_first_one_and_reports_faults_as_a_status_never_as_a_number(
    cluster, keda
):
    assert (keda.is_active(), keda.processes(**TWO)) == (False, 0)
    stream = keda.stub.StreamIsActive(keda.ref())
    assert next(stream).result is False
    cluster.hold(5)
    assert next(stream).result is True
    stream.cancel()
    forbidden = ("UNAVAILABLE", "queue 'another' cannot be read: NoPermissionError")
    assert keda.refusal(keda.is_active, queue="another") == forbidden
    assert keda.is_active()
    assert (keda.processes(**TWO), keda.replicas(**TWO)) == (5, 3)
    for call, given, code, why in REFUSALS:
        assert keda.refusal(getattr(keda, call), **given) == (code, why)
    cluster.server.stop()
    for call in (keda.processes, keda.is_active):
        code, why = keda.refusal(call, **TWO)
        assert (code, why.partition(": ")[0]) == ("UNAVAILABLE", "Redis cannot be read")
    stream = keda.stub.StreamIsActive(keda.ref(), timeout=20)
    assert keda.refusal(lambda: next(stream))[0] == "UNAVAILABLE"
    assert keda.target(**TWO) == ("celery-processes", 2)
    cluster.server.start()
    started(lambda: not keda.fails(**TWO), what="an answer, once Redis is back")


@pytest.mark.slow
def test_it_asks_for_what_the_daemon_asks_for_and_keeps_every_worker_while_a_task_runs(cluster, store, keda):
    for name in (W1, W2):
        cluster.worker(name, wait=False, url=store.url("worker"))
    daemon = cluster.daemon(url=store.url("autoscaler"), max="2")
    started(lambda: daemon.reason(W1) and daemon.reason(W2), what="both workers")
    cluster.hold(8)
    started(lambda: cluster.redis.hlen("started") == 4, what="both pools at their maximum")

    def agree():
        groups = daemon.status()["groups"]
        return len(groups) == 1 and keda.processes(**TWO) == groups[0]["asked"] == 8

    # 4 run. A look while they are being fetched may count one in the queue and in a worker.
    started(lambda: agree() and keda.replicas(**TWO) == 4, what="one word of both")
    cluster.release()
    started(lambda: len(cluster.ended()) == 8, what="the end of all tasks")
    started(lambda: keda.processes(**TWO) < 3, what="a smaller fleet, once nothing runs")
    assert keda.is_active()  # tasks have ended within the last minute
    cluster.redis.delete("release")
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 9, what="the start of the task")
    # It is less work than one worker can do, and there is no saying which pod would go.
    started(lambda: keda.replicas(**TWO) == 2, what="no signal to scale in while it runs")
    assert keda.replicas(**TWO, scaleIn="spare") == 1
    assert keda.is_active()
    for name in (W1, W2):
        cluster.workers[name].send(signal.SIGSTOP)
    silence = "worker 'w1@h' and 1 more does not answer: what runs there is not known"
    started(lambda: keda.fails(**TWO) == ("UNAVAILABLE", silence), what="a word on the silence")
    cluster.workers[W1].send(signal.SIGCONT)
    started(lambda: not keda.fails(**TWO), what="an answer of one of them")
    assert keda.replicas(**TWO) == 2  # whichever holds the task
    cluster.workers[W2].send(signal.SIGCONT)
    assert store.refusals() == []


@pytest.mark.slow
def test_no_pod_is_kept_for_one_whose_own_hook_drains_it_and_the_work_stays_visible(cluster, store, keda):
    for name in (W1, W2):
        cluster.worker(name, url=store.url("worker"))
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the start of the task")
    started(lambda: keda.replicas(**TWO) == 2, what="no signal to scale in while it runs")

    def busy():
        with urllib.request.urlopen(f"{keda.page}/status", timeout=5) as answer:
            return [one["worker"] for one in json.load(answer)["workers"] if one["busy"]]

    started(busy, what="the worker that runs it")
    words = (sys.executable, "-m", "autoscaler", "drain", "--force", "--deadline", "60", *busy())
    environment = {"REDIS_URL": store.url("worker")}
    with Process(words, log_path=cluster.folder / "drain.log", environment=environment) as drain:
        started(lambda: keda.replicas(**TWO) == 1, what="one pod, for the worker that stays")
        assert keda.is_active()
        cluster.release()
        assert drain.wait(within_seconds=60) == 0, drain.log()
    assert store.refusals() == []


def test_wrong_settings_are_reported_together_before_anything_connects():
    words = ["--keda-listen", "here", "--scale-in", "never", "--processes-per-worker", "0", "--min", "0"]
    done = CliRunner(env={"REDIS_URL": "redis://127.0.0.1:1/0"}).invoke(main, ["keda", *words])
    assert (done.exit_code, done.stderr.splitlines()) == (
        2,
        [
            f"autoscaler: --min is '0'; {WHOLE}",
            "autoscaler: --keda-listen is 'here'; it must be HOST:PORT, for instance 0.0.0.0:9809",
            f"autoscaler: --processes-per-worker is '0'; {WHOLE}",
            "autoscaler: --scale-in is 'never'; it must be one of idle, spare",
        ],
    )


def test_a_scaler_that_nobody_has_asked_has_its_series_so_that_an_alert_can_fire():
    words = {"redis_url": "redis://127.0.0.1:1/0", "queue": ("celery",)}
    pages = compose_keda(load(words, {}, (*table.ALL, *table.KEDA))).pages
    calls = [
        one for one in generate_latest(pages.registry).decode().splitlines() if "keda_calls_total{" in one
    ]
    assert calls == [
        f'celery_autoscaler_keda_calls_total{{code="OK",method="{method}"}} 0.0'
        for method in ("IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics")
    ]


class Idle:
    """A scaler without work."""

    def is_active(self, _scaled_object, **_):
        return False


@contextmanager
def served(**given):
    """A server without a fleet, on a port of its own; ``given`` are its servicer's."""
    calls = Counter("calls", "About.", ("method", "code"), registry=None)
    servicer = Servicer(Idle(), interval_seconds=0.2, calls=calls, log=get_logger(), **given)
    ports, stop = SimpleQueue(), Event()
    serving = serve(servicer, ("127.0.0.1", 0), stop, tls=None, on_bound=ports.put, keepalive_seconds=(1, 1))
    thread = Thread(target=asyncio.run, args=(serving,))
    thread.start()
    try:
        yield servicer, ports.get(timeout=30)
    finally:
        stop.set()
        thread.join()


def dialled(port):
    return grpc.insecure_channel(f"localhost:{port}")


def test_a_stream_of_a_peer_that_is_gone_without_a_word_ends():
    with (
        served() as (servicer, port),
        Proxy(port) as proxy,
        grpc.insecure_channel(f"localhost:{proxy.port}") as peer,
    ):
        method = METHODS["StreamIsActive"]
        ask = peer.unary_stream(f"/{SERVICE}/StreamIsActive", method.request.SerializeToString)
        stream = ask(method.request(name="worker"))
        next(stream)
        assert servicer._streams == 1
        proxy.mode = "silent"
        wait_until(lambda: servicer._streams == 0, within_seconds=30, what="the end of its stream")


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_token_file_that_is_empty_for_a_moment_lets_nobody_in(text, tmp_path):
    path = tmp_path / "token"
    path.write_text("open-sesame")
    words = {"redis_url": "redis://127.0.0.1:1/0", "keda_token_file": str(path)}
    read_token = token_reader(load(words, {}, (*table.ALL, *table.KEDA)))
    with served(read_token=read_token) as (_, port), dialled(port) as peer:
        method = METHODS["IsActive"]
        ask = peer.unary_unary(f"/{SERVICE}/IsActive", method.request.SerializeToString)
        assert ask(method.request(scalerMetadata={"token": "open-sesame"})) is not None
        path.write_text(text)
        for metadata in ({}, {"token": ""}):
            with pytest.raises(grpc.RpcError) as refused:
                ask(method.request(scalerMetadata=metadata))
            why = "--keda-token-file is empty; write the token into it"
            assert (refused.value.code().name, refused.value.details()) == ("UNAVAILABLE", why)


def test_settings_without_effect_are_said_at_the_start():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"--listen 127.0.0.1:0 --keda-listen 127.0.0.1:{taken.getsockname()[1]}"
        words = f"keda --queue celery {listen} --target-wait 3s --scale-up-threshold 3 --base-path /x"
        done = CliRunner(env={"REDIS_URL": "redis://127.0.0.1:1/0"}).invoke(main, words.split())
    said = [json.loads(line) for line in done.stderr.splitlines() if "settings.ignored" in line]
    assert [one["settings"] for one in said] == [["--scale-up-threshold"], ["--base-path"]]


@needs("openssl")
def test_a_certificate_that_cannot_be_used_is_named_and_not_the_address(tmp_path):
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    make_certificate(certificate, key)
    make_certificate(tmp_path / "another.crt", key)
    words = (
        "keda --queue celery --listen 127.0.0.1:0 --keda-listen 127.0.0.1:0 --redis-url redis://127.0.0.1:1/0"
    )
    tls = ("--keda-tls-cert", certificate, "--keda-tls-key", key)
    done = subprocess.run(
        (sys.executable, "-m", "autoscaler", *words.split(), *tls),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    said = done.stderr.splitlines()[-1]
    assert (done.returncode, said[:37], "KEY_VALUES_MISMATCH" in said) == (
        1,
        "autoscaler: TLS cannot be served: [X5",
        True,
    )


def test_without_its_extra_the_base_install_works_and_says_what_to_install():
    script = (
        "import sys; sys.modules['grpc'] = None\n"
        "from autoscaler.cli.main import main\n"
        "main(['keda', '--redis-url', 'redis://127.0.0.1:1/0'])"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    message = "autoscaler: grpc is not installed; run: pip install 'celery-pool-autoscaler[keda]'"
    hint = " (in a checkout: uv run --extra keda autoscaler ...)\n"
    assert (done.returncode, done.stderr) == (1, message + hint)
