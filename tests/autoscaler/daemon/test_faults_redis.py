"""What goes wrong with Redis, made to happen: hold, bounded time, recovery without help."""

from __future__ import annotations

import signal
from threading import Event

import pytest

from autoscaler.broker.keys import CANCELLED_KEY, read_status
from autoscaler.demo.embedded import RedisServer
from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.cluster import started
from tests.support.proxy import Proxy


def ready(daemon):
    return daemon.get("/readyz")[0] == 200


def healthy(daemon):
    # Not NaN either: a worker that was not heard in the first tick is known by its name alone.
    return ready(daemon) and (daemon.metric("worker_processes", worker=W1) or 0) > 0


def await_the_end_of_a_tick(daemon):
    """What comes next meets no call on its way: a worker whose reply is refused gives up its mailbox."""
    ended = daemon.metric("tick_duration_seconds_count")
    started(lambda: daemon.metric("tick_duration_seconds_count") != ended, what="the end of a tick")


def resizes(daemon):
    return len(daemon.events("pool.resized")) + len(daemon.events("pool.resize_failed"))


@pytest.mark.slow
def test_redis_killed_and_started_again(cluster):
    cluster.worker()
    daemon = cluster.daemon()
    started(lambda: healthy(daemon), what="the first reading")
    cluster.server.process.kill()
    started(lambda: not ready(daemon), what="unreadiness")
    assert daemon.get("/livez") == (200, "ok\n")
    assert "last read" in daemon.get("/readyz")[1]
    assert daemon.reason(W1) in {"unknown_size", None}
    before = resizes(daemon)
    cluster.server.start()
    started(lambda: healthy(daemon), what="recovery")
    cluster.send(40, 0.2)
    started(lambda: size(daemon) == 6, what="growth after it")
    assert before == 0


@pytest.mark.slow
def test_redis_stopped_and_continued(cluster):
    cluster.worker(processes=3)
    daemon = cluster.daemon(min="3")
    started(lambda: healthy(daemon), what="the first reading")
    cluster.server.process.send(signal.SIGSTOP)
    started(lambda: not ready(daemon), what="unreadiness")
    assert daemon.get("/livez")[0] == 200
    cluster.server.process.send(signal.SIGCONT)
    started(lambda: healthy(daemon), what="recovery")
    assert (size(daemon), resizes(daemon)) == (3, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "reset"])
def test_a_link_to_redis_that_breaks_and_heals(cluster, fault):
    cluster.worker()
    with Proxy(cluster.server.port) as proxy:
        daemon = cluster.daemon(url=f"redis://127.0.0.1:{proxy.port}/0")
        started(lambda: healthy(daemon), what="the first reading")
        proxy.mode = fault
        started(lambda: not ready(daemon), what="unreadiness")
        assert daemon.get("/livez")[0] == 200
        started(lambda: daemon.metric("sensor_errors_total", sensor="backlog"), what="the counted fault")
        proxy.mode = "pass"
        proxy.cut()
        started(lambda: healthy(daemon), what="recovery")
        assert resizes(daemon) == 0


@pytest.mark.slow
def test_a_slow_link_slows_the_ticks_and_nothing_else(cluster):
    cluster.worker()
    with Proxy(cluster.server.port) as proxy:
        proxy.mode = "slow"
        daemon = cluster.daemon(url=f"redis://127.0.0.1:{proxy.port}/0", inspect_timeout="10")
        cluster.hold(10)
        started(lambda: size(daemon) == 6, within_seconds=60, what="growth over a slow link")
        assert daemon.events("pool.resize_failed") == []


class HoldingUp(Proxy):
    """Holds a daemon up once it is armed, wherever it reads a hash, until it is let go."""

    def __init__(self, port):
        super().__init__(port)
        self.armed, self.let_go = Event(), Event()
        self.daemon = None

    def passed(self, sender, data, *, answer):
        del sender
        if self.armed.is_set() and not self.let_go.is_set() and b"HGETALL" in data and not answer:
            self.daemon.process.send(signal.SIGSTOP)
            self.let_go.wait(5.5)  # an observation is fresh for 5 s
            self.daemon.process.send(signal.SIGCONT)


@pytest.mark.slow
def test_what_was_decided_before_the_daemon_was_held_up_is_dropped_and_counted(cluster):
    cluster.worker()
    # A key of another type is read again in each tick, between the decision and the action.
    cluster.redis.set(CANCELLED_KEY, "no hash")
    with HoldingUp(cluster.server.port) as proxy:
        daemon = proxy.daemon = cluster.daemon(url=f"redis://127.0.0.1:{proxy.port}/0")
        proxy.armed.set()  # before there is a plan: one that is carried out leaves none to grow old
        cluster.hold(6)
        started(lambda: daemon.events("plan.expired"), what="a plan that grew old")
        proxy.let_go.set()
        expired = daemon.events("plan.expired")[0]
        assert (expired["workers"], expired["count"], expired["age_seconds"] > 5) == ([W1], 1, True)
        assert daemon.metric("expired_actions_total") >= 1
        assert daemon.metric("condition", kind="sensor") == 1, "what cannot be restored is said, too"
        started(lambda: size(daemon) == 6, what="growth by what is seen now")
        cluster.release()


@pytest.mark.slow
def test_a_read_only_replica_makes_every_depth_unknown(cluster, tmp_path):
    cluster.worker(processes=4)
    with RedisServer(tmp_path / "primary") as primary:
        cluster.hold(4)  # one each: nothing to resize for
        started(lambda: cluster.redis.hlen("started") == 4, what="the tasks")
        daemon = cluster.daemon()
        started(lambda: healthy(daemon), what="the first reading")
        cluster.redis.replicaof("127.0.0.1", primary.port)
        started(
            lambda: any(
                "replica" in str(queue["error"]) or "slave" in str(queue["error"])
                for queue in daemon.status()["queues"]
            ),
            what="the distrust",
        )
        assert [queue["waiting"] for queue in daemon.status()["queues"]] == [None]
        started(lambda: daemon.reason(W1) in {"stale", "unknown_size"}, what="the hold")
        assert resizes(daemon) == 0
        assert daemon.metric("queue_depth", queue="celery") is None


@pytest.mark.slow
def test_redis_out_of_memory(cluster):
    cluster.worker(processes=2)
    daemon = cluster.daemon(min="2", interval="1")
    started(lambda: healthy(daemon), what="the first reading")
    await_the_end_of_a_tick(daemon)
    cluster.redis.config_set("maxmemory", "1")
    started(lambda: daemon.metric("sensor_errors_total", sensor="pool"), what="the fault of the pool sensor")
    started(lambda: daemon.reason(W1) == "unknown_size", what="the hold")
    cluster.redis.config_set("maxmemory", "0")
    started(lambda: daemon.reason(W1) not in {"unknown_size", None}, what="recovery")
    assert resizes(daemon) == 0
    # One line when it began and none for each tick of it.
    reported = [line for line in daemon.events("condition") if line["subject"] == "publish"]
    assert [line["level"] for line in reported] == ["warning"]


@pytest.mark.slow
def test_redis_paused_for_writes(cluster):
    cluster.worker(processes=2)
    daemon = cluster.daemon(min="2")
    started(lambda: healthy(daemon), what="the first reading")
    cluster.redis.client_pause(22_000, all=False)
    started(lambda: daemon.reason(W1) == "unknown_size", what="the hold")
    started(lambda: daemon.reason(W1) not in {"unknown_size", None}, what="recovery")
    assert (size(daemon), resizes(daemon)) == (2, 0)


@pytest.mark.slow
def test_rights_are_revoked_and_granted_again(cluster):
    cluster.worker(processes=2)
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "on", ">first", "~*", "&*", "+@all")
    url = cluster.server.url.replace("redis://", "redis://scaler:first@")
    daemon = cluster.daemon(url=url, min="2")
    started(lambda: healthy(daemon), what="the first reading")
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "-@all")
    started(lambda: not ready(daemon), what="unreadiness")
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "+@all")
    started(lambda: healthy(daemon), what="recovery")
    assert resizes(daemon) == 0
    assert "first" not in daemon.process.log()


@pytest.mark.slow
def test_a_rotated_password_is_read_from_its_file_again(cluster, tmp_path):
    cluster.worker()
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "on", ">old-secret", "~*", "&*", "+@all")
    secret = tmp_path / "url"
    secret.write_text(cluster.server.url.replace("redis://", "redis://scaler:old-secret@"))
    daemon = cluster.daemon("--redis-url-file", str(secret), url="")
    started(lambda: healthy(daemon), what="the first reading")
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "<old-secret", ">new-secret")
    cluster.redis.execute_command("CLIENT", "KILL", "USER", "scaler")
    started(lambda: not ready(daemon), what="unreadiness")
    secret.write_text(cluster.server.url.replace("redis://", "redis://scaler:new-secret@"))
    started(lambda: healthy(daemon), what="recovery")
    shown = daemon.process.log() + daemon.get("/status")[1] + daemon.get("/metrics")[1]
    assert "old-secret" not in shown
    assert "new-secret" not in shown


@pytest.mark.slow
def test_a_queue_of_the_wrong_type_is_unknown_and_the_other_grows_its_worker(cluster):
    cluster.redis.set("broken", "no list")
    cluster.worker(W1, "-Q", "celery", processes=3)
    daemon = cluster.daemon("--queue", "celery", "--queue", "broken")
    cluster.send(40, 0.2)
    started(lambda: size(daemon) == 6, what="growth on the queue that is known")
    readings = {
        queue["queue"]: (queue["waiting"] is None, queue["error"]) for queue in daemon.status()["queues"]
    }
    assert readings["broken"] == (True, "WRONGTYPE: a key of this queue is not a list")
    assert readings["celery"] == (False, None)


@pytest.mark.slow
def test_a_password_that_is_one_of_our_own_words_changes_no_key_of_what_is_stored(cluster):
    cluster.worker()
    cluster.redis.execute_command("ACL", "SETUSER", "scaler", "on", ">worker", "~*", "&*", "+@all")
    daemon = cluster.daemon(url=cluster.server.url.replace("redis://", "redis://scaler:worker@"))
    started(lambda: read_status(cluster.redis, "default"), what="the stored status")
    started(lambda: healthy(daemon), what="the first reading")
    stored = read_status(cluster.redis, "default")
    assert [one["worker"] for one in stored["workers"]] == [W1]
    assert daemon.status().keys() == stored.keys()
