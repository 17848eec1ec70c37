"""Taking workers out of service, over real workers under traffic."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
from celery import Celery

from autoscaler.broker.connections import Connections, Redactor, RedisTuning
from autoscaler.broker.keys import CANCELLED_KEY
from autoscaler.cli.text import moment
from autoscaler.control.consumers import Cancellation, CancelRequest, Consumers
from autoscaler.control.remote import Remote
from autoscaler.demo.embedded import Process
from tests.autoscaler.daemon.test_daemon import W1, W2
from tests.support.cluster import ROOT, command, started
from tests.support.scripted_replies import STOCK, WITH_COMPANION, script
from tests.support.traffic import Traffic


def drain(cluster, *words):
    code, out, err = command("drain", *words, REDIS_URL=cluster.server.url)
    return code, out.splitlines(), err.splitlines()


def consumers_of(cluster):
    connections = Connections(lambda: cluster.server.url, RedisTuning(), Redactor())
    remote = Remote(connections.kombu, timeout_seconds=1.5)
    return Consumers(remote, connections.redis, CANCELLED_KEY, owner="drain", wall=time.time)


def cancel(consumers, seconds):
    found = consumers.cancel_all([CancelRequest(worker=W1, queues=("celery",), for_seconds=seconds)])
    assert found == {W1}


def drains_under_traffic(cluster, count):
    """Drain one of two workers again and again and start it anew; returns (sent, lost, run twice)."""
    names = [W1, W2]
    for name in names:
        cluster.worker(name, processes=2, PREFETCH="4")
    with Traffic(cluster, 0.01) as traffic:
        for number in range(count):
            name = names[number % 2]
            code, _, err = drain(cluster, name)
            assert code == 0, err
            assert cluster.workers[name].wait(within_seconds=20) == 0
            cluster.worker(name, processes=2, PREFETCH="4")
    started(lambda: len(cluster.ended()) >= traffic.sent, within_seconds=60, what="all tasks")
    return (traffic.sent, *cluster.lost_and_twice(traffic.sent))


@pytest.mark.slow
def test_drains_under_traffic_lose_nothing_and_repeat_nothing(cluster):
    sent, lost, twice = drains_under_traffic(cluster, 2)
    assert sent > 100
    assert (lost, twice) == (0, 0)


@pytest.mark.slow
def test_the_last_worker_of_a_queue_is_drained_only_by_force(cluster):
    worker = cluster.worker(W1)
    code, _, err = drain(cluster, W1)
    message = "autoscaler: queue 'celery' would be left without a worker; start another one, or use --force"
    assert (code, err) == (1, [message])
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, what="a task: nothing was cancelled")
    code, out, _ = drain(cluster, "--force", "--json", W1)
    assert code == 0
    (printed,) = json.loads(out[-1])
    assert (printed["worker"], printed["phase"], 0 <= time.time() - printed["since"] < 60) == (
        W1,
        "drained",
        True,
    )
    assert worker.wait(within_seconds=20) == 0
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "command", "how"),
    [(WITH_COMPANION, "pool_report", {"merge": {"queues": None}}), (STOCK, "active_queues", {"reply": "?"})],
    ids=["companion", "stock"],
)
def test_a_worker_that_does_not_say_what_it_consumes_is_not_drained(cluster, options, command, how):
    cluster.worker(W1, *options, companion=False)
    script(cluster, W1, command, **how)
    code, _, err = drain(cluster, W1)
    message = (
        "autoscaler: worker 'w1@h' does not say which queues it consumes, so that one could be left without"
        " a worker; try again, or use --force"
    )
    assert (code, err) == (1, [message])
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, what="a task: nothing was cancelled")


@pytest.mark.slow
def test_a_worker_that_is_not_there_is_named_before_anything_is_cancelled(cluster):
    cluster.worker(W1)
    cluster.worker(W2)
    code, _, err = drain(cluster, W1, "w9@h")
    assert (code, err) == (1, [f"autoscaler: worker 'w9@h' does not answer; those that do: {W1}, {W2}"])
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}


def test_where_no_worker_answers_at_all_the_url_is_in_doubt(cluster):
    code, _, err = drain(cluster, W1)
    message = (
        f"autoscaler: worker '{W1}' does not answer, nor does any other;"
        " does the URL name Celery's broker and its database?"
    )
    assert (code, err) == (1, [message])


@pytest.mark.slow
def test_at_the_deadline_the_worker_gets_its_consumers_back_and_stays(cluster):
    worker = cluster.worker(W1, processes=2)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the long task's start")
    begin = time.time()
    code, out, err = drain(cluster, "--force", "--json", "--deadline", "1", W1)
    assert code == 1
    printed = json.loads(out[-1])[0]
    assert (printed["phase"], printed["busy"]) == ("given_back", 1)
    assert begin + 1 <= printed["since"] <= time.time()
    assert printed["since_time"] == moment(printed["since"])
    assert f"{W1}: given_back, 1 running, 0 fetched" in err
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 1, what="a task sent after it")
    assert worker.exit_code is None


def drain_process(cluster, *words, environment=None):
    """A drain that runs beside the test."""
    return Process(
        (sys.executable, "-m", "autoscaler", "drain", *words),
        log_path=cluster.folder / "drain.log",
        environment=environment or {"REDIS_URL": cluster.server.url},
        working_folder=ROOT,
    )


@pytest.mark.slow
def test_a_drain_that_is_interrupted_restores_the_consumers(cluster):
    worker = cluster.worker(W1)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the long task's start")
    with drain_process(cluster, "--force", "--json", W1) as drain:
        started(lambda: f"{W1}: emptying, 1 running" in drain.log(), what="the begin of the drain")
        os.kill(drain.pid, signal.SIGTERM)
        assert drain.wait(within_seconds=20) == 1
        assert f"{W1}: given_back" in drain.log()
    assert cluster.redis.hgetall(CANCELLED_KEY) == {}
    assert worker.exit_code is None
    cluster.release()
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 2, what="the held task and one sent after the drain")


def draining(cluster, *words, deadline=300, **environment):
    """A drain of W1, which runs a task that is held, as a process that has begun."""
    cluster.worker(W1)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the long task's start")
    drain = cluster.stack.enter_context(
        drain_process(cluster, "--force", "--deadline", f"{deadline}", *words, W1, environment=environment)
    )
    started(lambda: f"{W1}: emptying, 1 running" in drain.log(), what="the begin of the drain")
    return drain


@pytest.mark.slow
def test_a_drain_whose_login_is_refused_ends_at_once_and_says_what_to_do(cluster):
    drain = draining(cluster)
    cluster.redis.config_set("requirepass", "hush")
    assert drain.wait(within_seconds=30) == 1
    line = (
        "autoscaler: Redis failed: OperationalError: Authentication required. The server wants a login:"
        " give it in the URL, as USER:PASSWORD@HOST or :PASSWORD@HOST; the consumers cancelled so far are"
        " recorded, and a daemon restores them"
    )
    assert drain.log().splitlines()[-1] == line


@pytest.mark.slow
def test_a_drain_goes_on_when_its_url_file_has_the_new_password(cluster):
    path = cluster.folder / "url"
    path.write_text(cluster.server.url)
    drain = draining(cluster, REDIS_URL_FILE=str(path))
    redis = cluster.redis
    redis.config_set("requirepass", "hush")
    started(lambda: "Authentication required" in drain.log(), what="the fault's line")
    path.write_text(cluster.server.url.replace("//", "//:hush@"))
    started(lambda: "autoscaler: Redis answers again" in drain.log(), what="the new password's use")
    path.write_text(cluster.server.url)
    redis.config_set("requirepass", "")
    cluster.release()
    assert drain.wait(within_seconds=60) == 0


@pytest.mark.slow
def test_a_drain_waits_for_a_redis_that_is_away_and_says_so_once(cluster):
    drain = draining(cluster)
    cluster.server.stop()
    refused = f"Error 111 connecting to 127.0.0.1:{cluster.server.port}. Connection refused."
    started(lambda: refused in drain.log(), what="the fault's line")
    cluster.server.start()
    started(lambda: "autoscaler: Redis answers again" in drain.log(), what="the end of the fault")
    cluster.release()
    assert drain.wait(within_seconds=60) == 0
    assert drain.log().count(refused) == 1
    advice = "Is this the URL of Celery's broker, and is the server up? Tried again until the deadline"
    assert f"{refused} {advice}\n" in drain.log()


@pytest.mark.slow
def test_a_drain_that_finds_redis_away_begins_once_the_worker_has_found_it_again(cluster):
    worker = cluster.worker(W1)
    cluster.server.stop()
    with drain_process(cluster, "--force", W1) as drain:
        started(lambda: "Connection refused" in drain.log(), what="the fault's line")
        cluster.server.start()
        assert drain.wait(within_seconds=90) == 0, drain.log()
        assert "autoscaler: Redis answers again" in drain.log()
        assert drain.log().splitlines()[-1] == f"{W1}: drained"
    assert worker.wait(within_seconds=20) == 0


@pytest.mark.slow
def test_a_drain_whose_redis_stays_away_ends_at_its_deadline(cluster):
    drain = draining(cluster, deadline=8)
    cluster.server.stop()
    assert drain.wait(within_seconds=60) == 1
    last = drain.log().splitlines()[-1]
    assert last.startswith("autoscaler: Redis failed: ")
    assert last.endswith("are recorded, and a daemon restores them")


@pytest.mark.slow
def test_a_second_drain_is_refused_and_by_force_restores_what_the_first_had_cancelled(cluster):
    cluster.worker(W1)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the long task's start")
    consumers = consumers_of(cluster)
    cancel(consumers, 600)  # as a drain that goes on elsewhere has
    code, _, err = drain(cluster, "--deadline", "1", W1)
    assert (code, err[-1]) == (
        1,
        f"autoscaler: worker {W1!r} is emptied already, by drain; wait for that, or use --force",
    )
    code, _, err = drain(cluster, "--force", "--deadline", "1", W1)
    assert (code, err[-1]) == (1, f"{W1}: given_back, 1 running, 0 fetched")
    assert consumers.cancellations() == []
    cluster.release()
    cluster.send(1, 0.1)
    started(lambda: len(cluster.ended()) == 2, what="the held task and one sent after the drain")


@pytest.mark.slow
def test_a_drain_does_not_wait_for_eta_tasks_and_loses_none(cluster):
    worker = cluster.worker(W1)
    app = Celery("eta", broker=cluster.server.url, set_as_current=False)
    app.send_task("nap", args=[0.1], countdown=3600, queue="celery", ignore_result=True)
    app.close()
    started(lambda: cluster.redis.hlen("unacked") == 1, what="the ETA task's arrival")
    code, _, err = drain(cluster, "--force", W1)
    assert code == 0, err
    assert worker.wait(within_seconds=20) == 0
    assert cluster.redis.llen("celery") == 1


@pytest.mark.slow
@pytest.mark.parametrize("active_cancellations", [False, True])
def test_what_a_drain_that_died_left_cancelled_is_restored_by_a_daemon_once_its_time_is_over(
    cluster, active_cancellations
):
    cluster.worker(W1)
    consumers = consumers_of(cluster)
    cancel(consumers, 600 if active_cancellations else 0)
    cluster.send(1, 0.1)
    daemon = cluster.daemon()
    if active_cancellations:
        started(lambda: daemon.metric("tick_duration_seconds_count") > 5, what="some ticks")
        assert cluster.ended() == {}
        assert [one.worker for one in consumers.cancellations()] == [W1]
    else:
        started(lambda: len(cluster.ended()) == 1, what="the task")
        started(lambda: consumers.cancellations() == [], what="the end of the record")


def test_records_that_cannot_be_read_are_dropped(cluster):
    cluster.redis.hset(CANCELLED_KEY, mapping={"a": "no json", "b": "[]", "c": '{"queues": ["q"]}'})
    good = {"queues": ["q"], "until": time.time() + 60, "owner": "drain"}
    cluster.redis.hset(CANCELLED_KEY, "d", json.dumps(good))
    connections = Connections(lambda: cluster.server.url, RedisTuning(), Redactor())
    consumers = Consumers(None, connections.redis, CANCELLED_KEY, owner="x", wall=time.time)
    assert consumers.cancellations() == [
        Cancellation(worker="d", queues=("q",), until=good["until"], owner="drain")
    ]
    assert cluster.redis.hkeys(CANCELLED_KEY) == [b"d"]
