"""Remote control with bounded time, on a real Valkey and real workers."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from functools import partial

import pytest
import redis
from kombu import Connection
from kombu.message import Message

from autoscaler.broker.connections import RedisTuning, kombu_options
from autoscaler.broker.errors import BrokerError
from autoscaler.broker.url import parse_redis_url
from autoscaler.control.remote import (
    MIN_TIMEOUT_SECONDS,
    Remote,
    RemoteCommand,
    UnreadableReply,
    _Collector,
)
from autoscaler.control.resize import ResizeRequest, WorkerResizer
from autoscaler.core.model import Result
from autoscaler.demo.embedded import RedisServer, wait_until
from autoscaler.sensors.workers import WorkerSensor
from tests.support.builders import worker
from tests.support.cluster import Cluster
from tests.support.junk_replies import NO_REPLY, OF_A_WORKER, JunkWriter

PONG = {"ok": "pong"}
#: The daemon's own name in CLIENT LIST, to tell its connections from the workers'.
TUNING = RedisTuning(socket_timeout_seconds=2.0, connect_timeout_seconds=1.0, client_name="remote-test")


def remote_to(url, *, timeout_seconds=1.5, prefix="", **more):
    options = kombu_options(parse_redis_url(url), TUNING, prefix)
    return Remote(lambda: Connection(**options), timeout_seconds=timeout_seconds, **more)


def lasted(call):
    started = time.monotonic()
    result = call()
    return result, time.monotonic() - started


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A broker with a worker, and with two workers of one name."""
    folder = tmp_path_factory.mktemp("fleet")
    with RedisServer(folder / "redis") as server, ExitStack() as stack:
        one = Cluster(folder=folder, stack=stack, server=server)
        pools = (("a@h", "solo"), ("twin@h", "prefork"), ("twin@h", "prefork"))
        workers = [one.worker(name, "--pool", pool, wait=False) for name, pool in pools]
        for worker in workers:
            worker.wait_until(partial(is_ready, worker), within_seconds=60, what="its start")
        yield one


def is_ready(worker):
    return "ready." in worker.log()


@pytest.mark.slow
def test_it_returns_as_soon_as_all_have_answered(fleet):
    found, seconds = lasted(lambda: remote_to(fleet.server.url, timeout_seconds=20).call("ping", {}, ["a@h"]))
    assert found == {"a@h": [PONG]}
    assert seconds < 5


def test_a_dead_name_costs_the_timeout_and_the_others_replies_are_read(fleet):
    found, seconds = lasted(lambda: remote_to(fleet.server.url).call("ping", {}, ["gone@h", "a@h"]))
    assert found == {"a@h": [PONG]}
    # The deadline, and what is left of a blocking read of 1 s.
    assert 1.5 <= seconds < 1.5 + 1.0 + 1.0


def test_arguments_reach_the_command_and_an_unknown_one_says_so(fleet):
    remote = remote_to(fleet.server.url)
    assert remote.call("pool_report", {}, ["a@h"])["a@h"][0]["pool"] == "solo"
    assert remote.call("no_such_command", {}, ["a@h"]) == {"a@h": [{"error": "KeyError('no_such_command')"}]}


def test_a_call_without_addressees_sends_nothing(tmp_path):
    assert remote_to(RedisServer(tmp_path).url).call("shutdown", {}, []) == {}


def test_a_call_leaves_no_key_and_no_connection_behind(fleet):
    client = fleet.redis
    remote = remote_to(fleet.server.url)
    before = set(client.keys("*"))
    remote.call("ping", {}, ["a@h"])
    remote.call("ping", {}, ["a@h", "gone@h"])
    mine = lambda: [one for one in client.client_list() if one["name"] == "remote-test"]  # noqa: E731
    wait_until(lambda: not mine(), within_seconds=5, what="the end of its connections")
    assert set(client.keys("*")) == before
    assert client.exists("_kombu.binding.reply.celery.pidbox") == 0


def test_a_call_that_the_server_refuses_leaves_no_key_behind(fleet):
    client = fleet.redis
    client.acl_setuser(
        "mute", enabled=True, passwords=["+p"], keys="*", channels="*", commands=["+@all", "-publish"]
    )
    before = set(client.keys("*"))
    remote = remote_to(fleet.server.url.replace("//", "//mute:p@"))
    with pytest.raises(BrokerError, match="publish"):
        remote.call("ping", {}, ["a@h"])
    assert set(client.keys("*")) == before


@pytest.mark.slow
def test_a_reply_that_comes_too_late_leaves_no_key_behind(fleet):
    client, worker = fleet.redis, fleet.workers["a@h"]
    before = set(client.keys("*"))
    worker.send(signal.SIGSTOP)
    try:
        assert remote_to(fleet.server.url).call("ping", {}, ["a@h"]) == {}
    finally:
        worker.send(signal.SIGCONT)
    remote = remote_to(fleet.server.url, timeout_seconds=20)
    assert remote.call("ping", {}, ["a@h"]) == {"a@h": [PONG]}
    assert set(client.keys("*")) == before


@pytest.mark.parametrize("others", [0, 8], ids=["a small fleet", "a large fleet"])
def test_messages_that_are_no_replies_cost_no_reply_of_others(fleet, others):
    names = ["a@h", *(f"{number}@h" for number in range(others))]
    said = []
    with JunkWriter(fleet.server.url, list(NO_REPLY.values())) as writer:
        # A name more, so that the whole timeout is waited for what else comes.
        found = remote_to(fleet.server.url, on_junk=said.append).call("ping", {}, [*names, "gone@h"])
        assert (found["a@h"], writer.answered) == ([PONG], 1)
    assert found.keys() <= {"a@h", "junk@h"}  # orjson's way needs no delivery tag
    assert len(said) >= 10


@pytest.mark.parametrize("others", [0, 8], ids=["a small fleet", "a large fleet"])
def test_a_reply_in_another_format_is_its_senders(fleet, others):
    names = ["a@h", "junk@h", *(f"{number}@h" for number in range(others)), "gone@h"]
    with JunkWriter(fleet.server.url, list(OF_A_WORKER.values())):
        found = remote_to(fleet.server.url).call("ping", {}, names)
    assert (found.keys(), found["a@h"], len(found["junk@h"])) == ({"a@h", "junk@h"}, [PONG], len(OF_A_WORKER))
    assert {type(reply) for reply in found["junk@h"]} == {UnreadableReply}


def test_a_flood_of_messages_that_are_no_replies_ends_the_call(fleet):
    said = []
    remote = remote_to(fleet.server.url, timeout_seconds=20, on_junk=said.append)
    with (
        JunkWriter(fleet.server.url, [NO_REPLY["no JSON"]] * 1100),
        pytest.raises(BrokerError, match="who else writes"),
    ):
        remote.call("ping", {}, ["gone@h"])
    assert len(said) == 1000


@pytest.mark.slow
def test_two_workers_of_one_name_are_found_by_a_roll_call(fleet):
    remote = remote_to(fleet.server.url, timeout_seconds=10)
    assert remote.call("ping", {}, ["twin@h", "nobody"]) == {"twin@h": [PONG, PONG]}
    found = WorkerSensor(remote).read({"a@h", "twin@h"}, 0.0)
    assert ([reading.name for reading in found.workers], found.duplicates, found.unresponsive) == (
        ["a@h"],
        ("twin@h",),
        (),
    )


def test_a_resize_that_two_workers_of_one_name_answered_is_not_called_done(fleet):
    # Beside one that does not answer, so that both replies are waited for.
    requests = [ResizeRequest(reading=worker(name, 1), target=2) for name in ("twin@h", "nobody@h")]
    found = WorkerResizer(remote_to(fleet.server.url, timeout_seconds=5)).resize(requests)
    assert [(one.result, one.detail) for one in found] == [
        (Result.UNKNOWN, "two workers answered to this name; give each worker a name of its own"),
        (Result.UNKNOWN, "no reply in time"),
    ]


def test_a_cast_waits_for_no_reply(fleet):
    remote = remote_to(fleet.server.url, timeout_seconds=20)
    _, seconds = lasted(lambda: remote.cast("ping", {}, ["a@h", "gone@h"]))
    assert seconds < 5


def test_a_server_that_does_not_answer_costs_a_bounded_time(tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        server.process.send(signal.SIGSTOP)
        remote = remote_to(server.url)
        started = time.monotonic()
        with pytest.raises(BrokerError):
            remote.call("ping", {}, ["a@h"])
        assert time.monotonic() - started < 2 * TUNING.socket_timeout_seconds + 1


def test_a_server_that_stops_answering_in_a_call_costs_a_bounded_time(tmp_path):
    with RedisServer(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        client.client_pause(60_000)
        remote = remote_to(server.url)
        started = time.monotonic()
        with pytest.raises(BrokerError):
            remote.call("ping", {}, ["a@h"])
        assert time.monotonic() - started < 2 * TUNING.socket_timeout_seconds + 1


def test_a_server_that_is_down_is_reported_at_once(tmp_path):
    remote = remote_to(RedisServer(tmp_path).url)
    started = time.monotonic()
    with pytest.raises(BrokerError, match="refused"):
        remote.call("ping", {}, ["a@h"])
    assert time.monotonic() - started < 1


def test_workers_under_another_prefix_do_not_receive_it(fleet):
    assert remote_to(fleet.server.url, prefix="other:").call("ping", {}, ["a@h"]) == {}


def test_a_timeout_is_never_shorter_than_a_blocking_read(fleet):
    remote = remote_to(fleet.server.url, timeout_seconds=0.01)
    found, seconds = lasted(lambda: remote.call("ping", {}, ["gone@h"]))
    assert found == {}
    assert seconds >= MIN_TIMEOUT_SECONDS


def reply(ticket, worker):
    return Message(
        body=json.dumps({worker: PONG}),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"ticket": ticket},
        accept={"application/json"},
    )


def test_a_second_reply_of_one_name_does_not_count_as_the_reply_of_another():
    collector = _Collector([RemoteCommand(name="ping", workers=("twin@h", "a@h"))])
    (ticket,) = collector.tickets
    for _ in range(2):
        collector.take(reply(ticket, "twin@h"))
    assert not collector.complete
    collector.take(reply(ticket, "a@h"))
    assert collector.complete
    assert collector.replies == [{"twin@h": [PONG, PONG], "a@h": [PONG]}]
