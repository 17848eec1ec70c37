"""The external scaler as a process, and a client made from KEDA's own proto."""

from __future__ import annotations

import importlib
import math
import signal
import subprocess
import sys
from contextlib import contextmanager

import grpc
import pytest
from grpc_tools import protoc

from autoscaler.demo.embedded import Process, free_port
from autoscaler.report.health import ask
from tests.support.cluster import PROMPT, ROOT, started

PROTO = ROOT / "deploy" / "keda" / "externalscaler.proto"


class Keda:
    """What KEDA is to the scaler: the client that grpcio-tools makes from the proto."""

    def __init__(self, folder, address, credentials=None):
        folder.mkdir(exist_ok=True)
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
        self.address = address
        self.channel = (
            grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        )
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

    def answers_active(self, **metadata):
        """Whether it answers at this moment, and that there is work."""
        try:
            return self.is_active(**metadata)
        except grpc.RpcError:
            return False

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


@contextmanager
def serving_keda(cluster, store, *words, credentials=None):
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
        keda = Keda(cluster.folder / "client", f"localhost:{port}", credentials)
        keda.page, keda.process = f"http://127.0.0.1:{page}", process
        try:
            yield keda
        finally:
            keda.channel.close()
        process.send(signal.SIGTERM)
        assert process.wait(within_seconds=10) == 0
        assert "keda.stopped" in process.log()


def make_certificate(certificate, key):
    """A self-signed certificate for localhost, and its key."""
    words = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        ("openssl", *words.split(), "-keyout", key, "-out", certificate), check=True, capture_output=True
    )
