"""Real faults of the daemon, of Redis and of KEDA's side, and the alerts that a real Prometheus fires."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from threading import Event, Thread

import grpc
import pytest
import redis
from celery import Celery

from autoscaler.keda.messages import METHODS, SERVICE
from tests.autoscaler.report.test_monitoring import W1, firing, prompt_rules, running_prometheus, scaler
from tests.support.cluster import started, ticked
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


SEP = "\x06\x16"


@contextmanager
def log_pipe(path):
    """A pipe as a container's log is one; gives what fills it, as if its reader hung."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def fill():
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * 100)

    try:
        yield fill
    finally:
        os.close(pipe)


def start_a_fleet_of_faults(cluster, elsewhere):
    """Workers that break what the alerts are about, each with its own queue; bare@h alone ``elsewhere``."""
    late = {"task_acks_late": True, "broker_transport_options": {"visibility_timeout": 1}}
    cluster.worker("late@h", "-Q", "late", SETTINGS=json.dumps(late), wait=False)
    for name in ("plain", "slow"):
        cluster.worker(f"{name}@h", "-Q", name, processes=3, companion=False, wait=False)
    cluster.worker("bare@h", "-Q", "bare", url=elsewhere, wait=False)
    for worker in cluster.workers.values():
        worker.wait_until(lambda worker=worker: "ready." in worker.log(), within_seconds=60, what="a start")
    for queue in ("late", "plain", "slow"):
        cluster.hold(1, queue=queue)
    cluster.redis.lpush(f"late{SEP}5", "{}")
    started(lambda: cluster.redis.hlen("started") >= 3, what="the tasks of the three")


def test_a_fleet_set_up_wrongly_a_worker_that_is_gone_and_a_log_that_blocks_fire_what_names_them(cluster):
    log = {"log_path": cluster.folder / "log-pipe", "wait": False}
    fill = cluster.stack.enter_context(log_pipe(log["log_path"]))
    elsewhere = cluster.server.url.replace("/0", "/1")
    start_a_fleet_of_faults(cluster, elsewhere)
    words = {"scale_down_threshold": "0.9", "quiesce_deadline": "2", "wait": False}
    first = cluster.daemon("--name", "a", "--worker", "late@h", "--worker", "plain@h", **words)
    quiesces = ("--shrink-without-companion", "quiesce")
    second = cluster.daemon("--name", "b", "--worker", "late@h", "--worker", "slow@h", *quiesces, **words)
    third = cluster.daemon("--worker", "bare@h", "--dry-run", url=elsewhere, stale_after="3", **log)
    pages = [daemon.page.removeprefix("http://") for daemon in (first, second, third)]
    rules = prompt_rules(cluster.folder)
    with (
        running_prometheus(cluster.folder / "prometheus", *pages, rules_file=rules) as server,
        Celery("somebody", broker=elsewhere, set_as_current=False) as app,
        redis.Redis.from_url(elsewhere) as there,
    ):
        started(lambda: ticked(third), what="its first tick")  # not by its log, which is a pipe
        started(lambda: third.metric("worker_processes", worker="bare@h") == 1, what="the worker")
        # Celery's own command knows no floor.
        app.control.pool_shrink(1, destination=["bare@h"], reply=True, timeout=5)
        fires(
            server, "CeleryAutoscalerTwoLeaders", "CeleryTasksDeliveredAgain", "CeleryWorkerWithoutProcesses"
        )
        app.send_task("nap", args=[0.0], queue="bare", ignore_result=True)
        cluster.workers["bare@h"].kill()
        fires(
            server, "CeleryPriorityNotRead", "CeleryAutoscalerActionsFailing", "CeleryAutoscalerShrinkLimited"
        )
        fires(server, "CeleryAutoscalerNoWorker", "CeleryAutoscalerWorkerMissing")
        fill()
        there.lpush(f"bare{SEP}5", "{}")  # a condition, which is logged
        fires(server, "CeleryAutoscalerLoopStalled")
        third.process.kill()  # blocked, it would not hear a polite word
