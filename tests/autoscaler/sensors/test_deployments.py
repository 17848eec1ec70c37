"""Deployments unlike a plain one, on real workers: who is found, who is named, and who is unharmed."""

from __future__ import annotations

import json
import sys
import time
from functools import partial

import celery
import pytest
from celery import Celery

from autoscaler.broker.connections import Connections, Redactor, RedisTuning
from autoscaler.broker.mailboxes import MAILBOXES_KEY
from autoscaler.control.remote import Remote
from autoscaler.demo.embedded import Process
from autoscaler.sensors.aside import run_in_thread
from autoscaler.sensors.queues import KeyLayout, QueueSensor
from autoscaler.sensors.workers import WorkerSensor
from tests.support.cluster import ROOT, started

SEP = "\x06\x16"
SOLO = ("--pool", "solo")


def start(cluster, *names, **settings):
    """Workers of a solo pool with these settings, ready."""
    workers = [
        cluster.worker(name, *SOLO, wait=False, C_FORCE_ROOT="1", SETTINGS=json.dumps(settings))
        for name in names
    ]
    for worker in workers:
        worker.wait_until(partial(is_ready, worker), within_seconds=60, what="its start")


def is_ready(worker):
    return "ready." in worker.log()


class Sensors:
    """The sensors of a daemon on a broker."""

    def __init__(self, cluster, *, timeout_seconds=1.5, **options):
        self.connections = Connections(lambda: cluster.server.url, RedisTuning(), Redactor())
        self.remote = Remote(self.connections.kombu, timeout_seconds=timeout_seconds)
        self.queues = QueueSensor(
            self.connections.redis, KeyLayout(), "o", on_separator=self.connections.use_separator
        )
        self.workers = WorkerSensor(self.remote, **options)

    def read(self):
        return self.workers.read(self.queues.read(()).mailboxes, time.monotonic())


def names(reading):
    return [one.name for one in reading.workers]


@pytest.mark.slow
def test_workers_whose_mailboxes_were_deleted_are_found_and_the_loss_is_reported(cluster):
    start(cluster, "a@h")
    sensors = Sensors(cluster)
    assert (names(sensors.read()), sensors.read().unregistered) == (["a@h"], ())
    cluster.redis.delete(MAILBOXES_KEY)
    for one in (sensors, Sensors(cluster)):
        found = one.read()
        assert (names(found), found.unregistered, found.unresponsive) == (["a@h"], ("a@h",), ())


@pytest.mark.slow
def test_workers_with_a_separator_of_their_own_are_found_and_not_disturbed(cluster):
    start(cluster, "a@h", broker_transport_options={"sep": "|"})
    sensors = Sensors(cluster)
    found = sensors.read()
    assert (names(found), found.unregistered) == (["a@h"], ())
    assert "ValueError" not in cluster.workers["a@h"].log()
    app = Celery("inspects", broker=cluster.server.url, set_as_current=False)
    app.conf.broker_transport_options = {"sep": "|"}
    assert list(app.control.ping(timeout=1.5)) == [{"a@h": {"ok": "pong"}}]
    app.close()


@pytest.mark.slow
def test_a_worker_whose_replies_are_pickle_is_named_and_the_others_are_read(cluster):
    start(cluster, "a@h", "ab@h")
    pickle = {"task_serializer": "pickle", "result_serializer": "pickle"}
    start(cluster, "b@h", accept_content=["json", "pickle"], **pickle)
    found = Sensors(cluster).read()
    assert (names(found), found.unresponsive) == (["a@h", "ab@h"], ("b@h",))
    assert found.unreadable == {"b@h": "application/x-python-serialize"}


@pytest.mark.slow
@pytest.mark.skipif(celery.VERSION < (5, 7), reason="beat answers since Celery 5.7")
def test_beat_is_recognised_and_is_no_worker(cluster):
    start(cluster, "a@h")
    command = (sys.executable, "-m", "celery", "-A", "tests.support.worker_app", "beat")
    with Process(
        (*command, "-s", str(cluster.folder / "schedule"), "--loglevel", "INFO"),
        log_path=cluster.folder / "beat.log",
        environment={
            "BROKER": cluster.server.url,
            "SETTINGS": json.dumps({"beat_enable_remote_control": True}),
        },
        working_folder=ROOT,
    ):
        started(
            lambda: any(b"celerybeat@" in one for one in cluster.redis.smembers(MAILBOXES_KEY)),
            what="beat's mailbox",
        )
        found = Sensors(cluster).read()
    (beat,) = found.beats
    assert beat.startswith("celerybeat@")
    assert (names(found), found.unresponsive) == (["a@h"], ())


@pytest.mark.slow
def test_mailboxes_of_killed_workers_delay_no_look_after_the_first(cluster):
    """Each look that waited for one of them would take the whole timeout."""
    start(cluster, "a@h")
    dead = [f"{SEP}{SEP}dead{number}@h.celery.pidbox" for number in range(2000)]
    cluster.redis.sadd(MAILBOXES_KEY, *dead)
    timeout_seconds = 6.0
    sensors = Sensors(cluster, timeout_seconds=timeout_seconds, run_aside=run_in_thread)
    assert names(sensors.read()) == ["a@h"]
    for _ in range(5):
        before = time.monotonic()
        found = sensors.read()
        assert time.monotonic() - before < timeout_seconds / 2
        assert (names(found), len(found.unresponsive)) == (["a@h"], 2000)


@pytest.mark.slow
def test_a_worker_that_ends_is_gone_once_everyone_was_called(cluster):
    start(cluster, "a@h", "b@h")
    sensors = Sensors(cluster)
    assert names(sensors.read()) == ["a@h", "b@h"]
    cluster.workers["b@h"].stop()
    cluster.redis.srem(MAILBOXES_KEY, f"{SEP}{SEP}b@h.celery.pidbox")  # it was killed, and so left it there
    started(lambda: sensors.read().unresponsive == (), what="the end of the one that is gone")
    assert names(sensors.read()) == ["a@h"]
