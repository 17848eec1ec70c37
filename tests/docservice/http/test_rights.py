"""The daemon and the service do their work under exactly the rights of deploy/redis/users.acl."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery

from autoscaler.broker.overrides import OverrideRequest, write_override
from autoscaler.demo.embedded import Process
from tests.docservice.conftest import fresh_database, run_api
from tests.support.cluster import Cluster, started
from tests.support.guarded import USERS, Guarded, guarded
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docservice.conftest import Servers

W1 = "w1@h"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path / "guarded", binary="redis-server") as one:
        yield one


@pytest.fixture
def cluster(tmp_path: Path, store: Guarded) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(folder=tmp_path, stack=stack, server=store.server)


@pytest.mark.slow
@needs("redis-server")
def test_the_daemon_empties_and_resizes_a_worker_without_companion(cluster: Cluster, store: Guarded) -> None:
    worker = cluster.worker(W1, companion=False, url=store.url("worker"))
    quiesce = ("--shrink-without-companion", "quiesce")
    forget_bindings(store)
    daemon = cluster.daemon(*quiesce, url=store.url("autoscaler"), max="3")
    cluster.hold(12)
    started(lambda: daemon.metric("worker_processes", worker=W1) == 3, what="its growth")
    cluster.release()
    started(lambda: daemon.metric("worker_processes", worker=W1) == 1, what="its shrink")
    begun = [event for event in daemon.events("pool.resize_begun") if event["worker"] == W1]
    assert begun  # it was emptied first, with a note in Redis
    write_override(store.admin, "default", OverrideRequest(paused=True), now=time.time())
    started(lambda: daemon.metric("paused") == 1, what="the pause")
    assert daemon.metric("leader") == 1
    # The worker may have made the table new since, and each of them sweeps once a minute.
    started(lambda: is_swept(store), within_seconds=150, what="the sweep of old bindings")
    assert daemon.process.stop() == 0
    assert store.admin.exists("autoscaler:default:lease", "autoscaler:cancelled") == 0
    assert store.admin.xlen("autoscaler:default:events") >= 2
    cluster.redis.delete("release")
    before = len(cluster.ended())
    cluster.hold(4)
    started(lambda: store.admin.hlen("unacked") == 1, what="a fetch beside the task that runs")
    worker.send(signal.SIGTERM)
    cluster.release()
    worker.wait(within_seconds=60)
    # What it had fetched it ran, or gave back, for which kombu watches a key.
    assert len(cluster.ended()) - before + store.admin.llen("celery") == 4
    assert not store.refuses("worker", "WATCH", "unacked")
    assert store.refusals() == []


@pytest.mark.slow
@needs("redis-server")
def test_the_service_its_worker_and_the_daemon_do_their_work(
    servers: Servers, cluster: Cluster, store: Guarded, tmp_path: Path
) -> None:
    with fresh_database(servers) as database_url, ExitStack() as stack:
        common = {
            "DATABASE_URL": database_url,
            "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
            "DOCSERVICE_SWEEP_SECONDS": "0.5",
        }
        words = (sys.executable, "-m", "docservice", "worker", "-c", "1", "-n", W1)
        environment = {**common, "REDIS_URL": store.url("worker")}
        log_path = tmp_path / "worker.log"
        worker = stack.enter_context(Process(words, log_path=log_path, environment=environment))
        stack.callback(worker.kill)  # its own end takes Celery half a minute
        daemon = cluster.daemon(url=store.url("autoscaler"), target_wait="5s")  # reads ages too
        api = stack.enter_context(run_api(tmp_path, {**common, "REDIS_URL": store.url("api")}))
        client = stack.enter_context(api.client("system_admin"))
        started(lambda: daemon.reason(W1), what="the worker")
        files = [("file", (f"{number}.txt", b"text", "text/plain")) for number in range(10)]
        assert client.post("/modules/lot/documents", files=files).status_code == 202
        started(lambda: states(client) == {"processed": 10}, what="the processing")
        paused = client.post("/admin/celery/autoscale", json={"paused": True, "why": "a look"})
        assert paused.status_code == 200
        started(lambda: daemon.metric("paused") == 1, what="the pause")
        for what in ("grow", "shrink"):
            done = client.post(f"/admin/celery/{what}", json={"workers": [W1], "processes": 1})
            assert [one["outcome"] for one in done.json()["data"]] == ["resized"]
        shown = client.get("/admin/celery/autoscale").json()["data"]
        assert shown["status"]["override"]["paused"] is True
        assert client.post("/admin/celery/autoscale", json={"paused": False}).status_code == 200
        begun = client.post("/admin/celery/drain_shutdown", json={"workers": [W1], "force": True})
        url = begun.json()["data"]["status_url"]
        # Told to end: how long Celery then takes is its own affair.
        ending = {"stopping", "drained", "given_back"}
        started(
            lambda: client.get(url).json()["data"]["report"][W1]["state"] in ending,
            within_seconds=60,
            what="the drain",
        )
        assert store.refusals() == []


def forget_bindings(store: Guarded) -> None:
    """Make kombu's tables as old as after an hour without workers: whoever asks next sweeps them up."""
    store.admin.sadd("_kombu.binding.celeryev", "x")
    store.admin.zadd("_kombu.binding_deadlines", {"celeryev": 1})


def is_swept(store: Guarded) -> bool:
    """Whether the table was swept up; where it was not, it is made as old again."""
    if not store.admin.sismember("_kombu.binding.celeryev", "x"):
        return True
    store.admin.zadd("_kombu.binding_deadlines", {"celeryev": 1})
    return False


def states(client: Any) -> dict[str, int]:
    rows = client.get("/modules/lot/grid", params={"limit": 500}).json()["data"]["rows"]
    return dict(Counter(row["state"] for row in rows))


NOBODY_MAY = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "requirepass"),
    ("ACL", "LIST"),
    ("MONITOR",),
    ("SHUTDOWN",),
    ("CLIENT", "LIST"),
    ("MODULE", "LIST"),
    ("REPLICAOF", "NO", "ONE"),
    ("GET", "another"),
    ("PUBLISH", "another", "x"),
]
#: What a user may not do beside it, most of it what another one may.
NOT_MAY = {
    "autoscaler": [
        ("BRPOP", "celery", "1"),
        ("DEL", "celery"),
        ("LPUSH", "celery", "x"),
        ("HGETALL", "unacked"),
        ("GET", "docservice:epoch"),
        ("SET", "autoscaler:default:override", "{}"),
        ("SET", "docservice:version:lot", "x"),
        ("SREM", "_kombu.binding.celery", "x"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "celery"),
    ],
    "keda": [
        ("LRANGE", "celery", "0", "-1"),
        ("BRPOP", "celery", "1"),
        ("SET", "autoscaler:default:status", "{}"),
        ("SET", "autoscaler:default:override", "{}"),
        ("GET", "autoscaler:default:lease"),
        ("HDEL", "autoscaler:cancelled", "x"),
        ("GET", "docservice:epoch"),
        ("HGETALL", "unacked"),
        ("DEL", "unacked"),
    ],
    "api": [
        ("HGETALL", "unacked"),
        ("BRPOP", "celery", "1"),
        ("DEL", "celery"),
        ("LINDEX", "celery", "-1"),
        ("SET", "autoscaler:default:status", "{}"),
        ("SET", "autoscaler:default:lease", "x"),
        ("PSUBSCRIBE", "/0.celery.pidbox"),
    ],
    "worker": [
        ("GET", "autoscaler:default:status"),
        ("SET", "autoscaler:default:override", "{}"),
        ("DEL", "autoscaler:default:lease"),
        ("PSUBSCRIBE", "*"),
    ],
    "publisher": [
        ("BRPOP", "celery", "1"),
        ("LRANGE", "celery", "0", "-1"),
        ("LINDEX", "celery", "-1"),
        ("DEL", "celery"),
        ("PUBLISH", "/0.celery.pidbox", "x"),
        ("GET", "autoscaler:default:status"),
        ("SET", "autoscaler:default:override", "{}"),
        ("GET", "docservice:epoch"),
        ("HGETALL", "unacked"),
    ],
    "operator": [
        ("SET", "autoscaler:default:status", "{}"),
        ("DEL", "autoscaler:default:override"),
        ("GET", "autoscaler:default:lease"),
        ("HGETALL", "autoscaler:cancelled"),
        ("XADD", "autoscaler:default:events", "*", "x", "y"),
        ("LRANGE", "celery", "0", "-1"),
        ("DEL", "celery"),
        ("GET", "docservice:epoch"),
    ],
}


@pytest.mark.slow
@needs("redis-server")
def test_celerys_own_commands_work_for_those_that_may_talk_to_workers_and_a_publisher_can_send(
    cluster: Cluster, store: Guarded
) -> None:
    cluster.worker(W1, url=store.url("worker"))
    for user in ("autoscaler", "keda", "api", "worker"):
        app = Celery(user, broker=store.url(user), set_as_current=False)
        started(lambda app=app: app.control.ping(timeout=3) == [{W1: {"ok": "pong"}}], what=f"{user}'s ping")
        app.close()
    app = Celery("publisher", broker=store.url("publisher"), set_as_current=False)
    for options in ({}, {"priority": 9}, {"countdown": 0.1}):
        app.send_task("nap", args=[0.0], queue="celery", ignore_result=True, **options)
    started(lambda: len(cluster.ended()) == 3, what="the end of what was sent")
    assert store.refusals() == []
    app.close()


@pytest.mark.slow
@needs("redis-server")
def test_a_pods_own_probe_and_hook_do_their_work_with_the_address_of_its_worker(
    cluster: Cluster, store: Guarded, tmp_path: Path
) -> None:
    worker = cluster.worker(W1, url=store.url("worker"))
    environment = {"REDIS_URL": store.url("worker")}
    for words, last in (
        (("check-worker", "--within", "20", W1), f"{W1} is alive"),
        (("drain", "--force", "--deadline", "30", W1), f"{W1}: drained"),
    ):
        command = (sys.executable, "-m", "autoscaler", *words)
        with Process(command, log_path=tmp_path / f"{words[0]}.log", environment=environment) as done:
            assert done.wait(within_seconds=60) == 0, done.log()
            assert done.log().splitlines()[-1] == last
    assert worker.wait(within_seconds=60) == 0
    assert store.refusals() == []


@needs("redis-server")
def test_what_the_rights_deny(store: Guarded) -> None:
    users = set(store.admin.acl_users()) - {"admin", "default"}
    assert users == set(NOT_MAY)
    denied = [(user, *words) for user in users for words in (*NOBODY_MAY, *NOT_MAY[user])]
    assert [words for words in denied if not store.refuses(*words)] == []
    with redis.Redis.from_url(store.url("admin").replace("admin:secret@", "")) as nobody:
        assert nobody.ping()  # a health check needs no login
        with pytest.raises(redis.exceptions.NoPermissionError):
            nobody.get("celery")


def test_no_user_of_the_file_has_a_password_and_so_nobody_can_log_in() -> None:
    for line in USERS.read_text().splitlines():
        _, name, *rules = line.split()
        secrets = [rule for rule in rules if rule[0] in "<>#" or rule == "nopass"]
        assert secrets == (["nopass"] if name == "default" else [])


@needs("redis-server")
def test_a_worker_may_look_for_its_mailbox_which_the_companion_does_every_15_s(store):
    key = "_kombu.binding.celery.pidbox"
    assert [store.refuses(user, "SISMEMBER", key, "x") for user in ("worker", "keda")] == [False, True]
