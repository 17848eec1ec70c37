"""`autoscaler keda`: a client made from KEDA's own proto, over real workers, beside the real daemon."""

from __future__ import annotations

import importlib
import json
import math
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from autoscaler.cli.main import main
from autoscaler.demo.embedded import Process, free_port
from autoscaler.keda.messages import file_descriptor
from autoscaler.report.health import ask
from tests.support.cluster import PROMPT, ROOT, Cluster, started
from tests.support.guarded import guarded

PROTO = ROOT / "deploy" / "keda" / "externalscaler.proto"
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


class Keda:
    """What KEDA is to the scaler: the client that grpcio-tools makes from the proto."""

    def __init__(self, folder, address):
        folder.mkdir()
        code = protoc.main(
            [
                "protoc",
                f"-I{PROTO.parent}",
                f"--python_out={folder}",
                f"--grpc_python_out={folder}",
                str(PROTO),
            ]
        )
        assert code == 0
        sys.path.insert(0, str(folder))
        try:
            self.messages = importlib.import_module("externalscaler_pb2")
            stubs = importlib.import_module("externalscaler_pb2_grpc")
        finally:
            sys.path.remove(str(folder))
        self.channel = grpc.insecure_channel(address)
        self.stub = stubs.ExternalScalerStub(self.channel)

    def ref(self, **metadata):
        given = {"scalerAddress": "scaler:9810", "queue": "celery", **metadata}
        chosen = {key: value for key, value in given.items() if value is not None}
        return self.messages.ScaledObjectRef(name="worker", namespace="default", scalerMetadata=chosen)

    def target(self, **metadata):
        (spec,) = self.stub.GetMetricSpec(self.ref(**metadata), timeout=20).metricSpecs
        assert spec.targetSize == spec.targetSizeFloat
        return spec.metricName, spec.targetSize

    def processes(self, *, metric="celery-processes", **metadata):
        request = self.messages.GetMetricsRequest(scaledObjectRef=self.ref(**metadata), metricName=metric)
        (value,) = self.stub.GetMetrics(request, timeout=20).metricValues
        assert (value.metricName, value.metricValue) == ("celery-processes", value.metricValueFloat)
        return value.metricValue

    def replicas(self, **metadata):
        """What the HPA makes of it."""
        return math.ceil(self.processes(**metadata) / self.target(**metadata)[1])

    def is_active(self, **metadata):
        return self.stub.IsActive(self.ref(**metadata), timeout=20).result

    def refusal(self, call, **given):
        with pytest.raises(grpc.RpcError) as caught:
            call(**given)
        return caught.value.code().name, caught.value.details()

    def fails(self, **metadata):
        try:
            self.processes(**metadata)
        except grpc.RpcError as fault:
            return fault.code().name, fault.details()
        return None


@pytest.fixture
def store(tmp_path):
    """A Valkey on which everybody has the rights of deploy/redis/users.acl and no others."""
    with guarded(tmp_path / "guarded", persistent=True) as one:
        yield one


@pytest.fixture
def cluster(tmp_path, store):
    with ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=store.server)


@contextmanager
def serving_keda(cluster, store, *words):
    """The scaler as a process of its own, as a Deployment has it, and KEDA before it."""
    port, page = free_port(), free_port()
    delays = [word for key in PROMPT if key != "--max" for word in (key, PROMPT[key])]
    listen = ("--keda-listen", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{page}", "--stale-after", "60")
    with Process(
        (sys.executable, "-m", "autoscaler", "keda", *listen, *delays, *words),
        log_path=cluster.folder / "keda.log",
        environment={"REDIS_URL": store.url("keda")},
        working_folder=ROOT,
    ) as process:
        process.wait_until(lambda: "keda.started" in process.log(), within_seconds=30, what="its start")
        started(lambda: ask("127.0.0.1", page, ready=True) == (True, "ok"), what="its first look")
        keda = Keda(cluster.folder / "client", f"127.0.0.1:{port}")
        try:
            yield keda
        finally:
            keda.channel.close()
        process.send(signal.SIGTERM)
        assert process.wait(within_seconds=10) == 0
        assert "keda.stopped" in process.log()


@pytest.fixture
def keda(cluster, store):
    with serving_keda(cluster, store) as running:
        yield running


@pytest.mark.slow
def test_messages_that_a_killed_worker_had_fetched_keep_one_worker_asked_for(store, keda):
    started(lambda: not keda.fails(**TWO), what="the first look")
    assert not keda.is_active()
    store.admin.hset("unacked", mapping={"one": "{}", "two": "{}"})
    started(keda.is_active, what="the wish for a worker that gives them back")
    assert keda.replicas(**TWO) == 1
    store.admin.delete("unacked")
    started(lambda: not keda.is_active(), what="the end of that wish")
    assert store.refusals() == []


@pytest.mark.slow
def test_what_a_killed_worker_kept_under_a_key_of_its_own_keeps_one_worker_asked_for(cluster, store):
    # An own user of the broker may read that key, as the guide for KEDA says.
    store.admin.execute_command("ACL", "SETUSER", "keda", "%R~shop-unacked")
    options = {"unacked_key": "shop-unacked", "visibility_timeout": 3600}
    conf = json.dumps({"broker_transport_options": options, "task_acks_late": True})
    with serving_keda(cluster, store, "--stale-after", "3") as keda:
        worker = cluster.worker(W1, SETTINGS=conf)
        cluster.hold(1)
        started(lambda: cluster.redis.hlen("shop-unacked") == 1, what="the task's start")
        started(lambda: not keda.fails(**TWO) and keda.is_active(), what="its being seen")
        worker.kill()
        started(lambda: keda.fails(**TWO), what="its silence")
        started(lambda: not keda.fails(**TWO), what="its end")
        assert (keda.is_active(), keda.replicas(**TWO)) == (True, 1)
        store.admin.delete("shop-unacked")
        started(lambda: not keda.is_active(), within_seconds=90, what="the end of that wish")
        store.admin.set("shop-unacked", "a text")
        code, why = keda.refusal(keda.is_active)
        assert (code, "WRONGTYPE" in why) == ("UNAVAILABLE", True)


def test_the_messages_are_those_of_the_proto(tmp_path):
    code = protoc.main(
        ["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={tmp_path / 'set'}", str(PROTO)]
    )
    assert code == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes())
    assert list(compiled.file) == [file_descriptor()]


@pytest.mark.slow
def test_without_workers_it_wakes_the_first_one_and_tells_faults_as_a_status_never_as_a_number(cluster, keda):
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

    started(agree, what="one word of both")  # 4 run
    assert keda.replicas(**TWO) == 4
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


def test_wrong_settings_are_told_at_once_before_anything_connects():
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


def test_without_its_extra_the_base_install_works_and_says_what_to_install():
    script = (
        "import sys; sys.modules['grpc'] = None\n"
        "from autoscaler.cli.main import main\n"
        "main(['keda', '--redis-url', 'redis://127.0.0.1:1/0'])"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    told = "autoscaler: grpc is not installed; run: pip install 'celery-pool-autoscaler[keda]'"
    hint = " (in a checkout: uv run --extra keda autoscaler ...)\n"
    assert (done.returncode, done.stderr) == (1, told + hint)
