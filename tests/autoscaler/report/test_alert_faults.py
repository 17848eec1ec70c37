"""Real faults of the daemon, of Redis and of KEDA's side, and the alerts that a real Prometheus fires."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Thread

import grpc
import pytest
from celery import Celery

from autoscaler.keda.messages import METHODS, SERVICE
from tests.autoscaler.report.test_monitoring import W1, firing, prompt_rules, running_prometheus, scaler
from tests.support.cluster import started
from tests.support.programs import needs

pytestmark = [pytest.mark.slow, needs("prometheus")]


def fires(server, *names):
    """Wait until these alerts fire."""
    wanted = {(name,) for name in names}
    started(lambda: wanted <= firing(server), within_seconds=90, what=f"the alerts {names}")


def hang(cluster, seconds):
    """Let Redis answer nobody for a while."""
    cluster.redis.execute_command("CLIENT", "PAUSE", str(int(seconds * 1000)), "ALL")


def test_a_foreign_hand_a_redis_that_hangs_and_a_daemon_that_is_gone_fire_what_names_them(cluster):
    cluster.worker(W1, processes=2)
    daemon = cluster.daemon(min="2")
    started(lambda: daemon.reason(W1), what="the worker")
    page = daemon.page.removeprefix("http://")
    rules = prompt_rules(cluster.folder)
    with running_prometheus(cluster.folder / "prometheus", page, rules_file=rules) as server:
        started(lambda: server.query("celery_autoscaler_build_info"), what="a scrape")
        app = Celery("somebody", broker=cluster.server.url, set_as_current=False)
        app.control.pool_grow(2, destination=[W1], reply=True, timeout=5)
        app.close()
        fires(server, "CeleryAutoscalerContested")
        hang(cluster, 15)
        fires(server, "CeleryAutoscalerSensorsStale")
        daemon.process.kill()
        fires(server, "CeleryAutoscalerDown", "CeleryAutoscalerAbsent")


@contextmanager
def asking(address, **metadata):
    """KEDA, which asks on and on whatever it is answered, until the event is set."""
    method, over = METHODS["IsActive"], Event()
    question = method.request(name="worker", namespace="mails", scalerMetadata=metadata)

    def ask():
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/IsActive",
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            while not over.wait(0.2):
                try:
                    call(question, timeout=5)
                except grpc.RpcError:
                    continue

    thread = Thread(target=ask)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


def test_a_mistyped_queue_a_redis_that_hangs_and_a_keda_that_asks_no_more_fire_what_names_them(cluster):
    with scaler(cluster) as (page, address):
        rules = prompt_rules(cluster.folder)
        with running_prometheus(cluster.folder / "prometheus", page, rules_file=rules) as server:
            started(lambda: server.query("celery_autoscaler_keda_build_info"), what="a scrape")
            with asking(address, queue="celrey", processesPerWorker="4"):
                fires(server, "CeleryKedaQueueUnknown")
                hang(cluster, 20)
                fires(server, "CeleryKedaScalerFailing", "CeleryKedaFleetStale")
            fires(server, "CeleryKedaScalerNotAsked")
