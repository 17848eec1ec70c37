"""How much work waits, read from a real Valkey in one round trip."""

from __future__ import annotations

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoPermissionError, ResponseError

from autoscaler.broker.errors import BrokerError
from autoscaler.core.model import QueueReading, WorkerLayout
from autoscaler.demo.embedded import RedisServer, free_port, wait_until
from autoscaler.sensors.queues import (
    KeyLayout,
    QueueSensor,
    QueuesReading,
    parse_depth,
    parse_role,
)
from tests.support.builders import worker

SEP = "\x06\x16"
REPLICA = "the server is a slave, whose counts lag behind; point the URL at the primary"
WRONG_TYPE = "WRONGTYPE: a key of this queue is not a list"
ODD_NAMES = [
    "two\nlines",
    'quo"te',
    "apo's",
    "ünïcode ✓",
    "{brace}*",
    "with space",
    "%s",
    f"a{SEP}3",
    "celery\x00",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    at_once = ("--repl-diskless-sync-delay", "0")
    with RedisServer(tmp_path_factory.mktemp("redis"), options=at_once) as one:
        yield one


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as one:
        one.flushall()
        yield one


def sensor(client, **layout):
    return QueueSensor(lambda: client, KeyLayout(**layout), "autoscaler:a:override")


def fill(client, **lists):
    for key, length in lists.items():
        client.rpush(key, *["x"] * length)


def depths(backlog):
    return {queue.name: queue.waiting for queue in backlog.queues}


def test_the_keys_of_a_queue_are_kombus_own():
    assert KeyLayout().keys("q") == ("q", f"q{SEP}3", f"q{SEP}6", f"q{SEP}9")
    assert KeyLayout(prefix="p:", separator="|", priority_steps=(0, 5)).keys("q") == ("p:q", "p:q|5")


def test_a_queue_is_the_sum_of_its_priority_steps_and_an_absent_one_is_empty(client):
    fill(client, **{"celery": 2, f"celery{SEP}3": 3, f"celery{SEP}9": 5, f"celery{SEP}4": 100})
    assert sensor(client).read(["celery", "mails"]) == QueuesReading(
        queues=(
            QueueReading(name="celery", waiting=10, stray_lists=(f"celery{SEP}4",)),
            QueueReading(name="mails", waiting=0),
        )
    )


def test_prefix_separator_and_steps_are_settings(client):
    fill(client, **{"p:celery": 2, "p:celery|1": 3, "celery": 50, f"p:celery{SEP}3": 50})
    layout = {"prefix": "p:", "separator": "|", "priority_steps": (0, 1)}
    assert depths(sensor(client, **layout).read(["celery"])) == {"celery": 5}


def test_odd_names_are_counted_like_any_other(client):
    for index, name in enumerate(ODD_NAMES):
        fill(client, **{name: index + 1})
    expected = {name: index + 1 for index, name in enumerate(ODD_NAMES)}
    assert depths(sensor(client).read(ODD_NAMES)) == expected


def test_a_key_of_the_wrong_type_makes_its_queue_unknown_and_leaves_the_others(client):
    fill(client, celery=2)
    client.set(f"broken{SEP}6", "no list")
    assert sensor(client).read(["broken", "celery"]).queues == (
        QueueReading(name="broken", waiting=None, error=WRONG_TYPE),
        QueueReading(name="celery", waiting=2),
    )


def test_all_queues_and_steps_are_one_round_trip(client):
    def reads():
        return client.info("stats")["total_reads_processed"]

    reader, queues = sensor(client), [f"q{number}" for number in range(20)]
    reader.read(queues)
    before = reads()
    reader.read(queues)
    # 83 commands arrived by one read of the server; the other one is that of the question itself.
    assert reads() - before == 2


def test_a_thousand_queues_are_read(client):
    names = [f"q{number}" for number in range(1000)]
    fill(client, q0=1, q999=2)
    assert depths(sensor(client).read(names)) == {**dict.fromkeys(names, 0), "q0": 1, "q999": 2}


def test_a_replica_makes_every_depth_unknown(client, server, tmp_path):
    fill(client, celery=2)
    options = ("--replicaof", f"127.0.0.1 {server.port}")
    with RedisServer(tmp_path / "replica", options=options) as copy, redis.Redis.from_url(copy.url) as there:
        wait_until(lambda: there.llen("celery") == 2, within_seconds=20, what="the copy")
        assert sensor(there).read(["celery", "mails"]).queues == (
            QueueReading(name="celery", waiting=None, error=REPLICA),
            QueueReading(name="mails", waiting=None, error=REPLICA),
        )


def test_the_override_and_the_mailboxes_come_in_the_same_trip(client):
    client.set("autoscaler:a:override", "ä")
    for queue in ("one@h.celery.pidbox", "übrig@h.celery.pidbox", "reply.queue"):
        client.sadd("_kombu.binding.celery.pidbox", f"{SEP}{SEP}{queue}")
    assert sensor(client).read([]) == QueuesReading(
        queues=(), mailboxes=frozenset({"one@h", "übrig@h"}), override="ä", separator=SEP
    )


def test_what_the_server_refuses_is_unknown_and_not_empty(client):
    client.rpush("autoscaler:a:override", "no text")
    client.set("_kombu.binding.celery.pidbox", "no set")
    fault = "ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value"
    assert sensor(client).read(["celery"]) == QueuesReading(
        queues=(QueueReading(name="celery", waiting=0),), faults={"override": fault, "mailboxes": fault}
    )


def test_a_user_who_may_read_one_queue_alone_reads_that(client, server):
    client.execute_command(
        "ACL", "SETUSER", "narrow", "reset", "on", ">narrow", "%R~celery*", "+llen", "+role"
    )
    fill(client, celery=2)
    with redis.Redis(port=server.port, username="narrow", password="narrow") as narrow:
        found = sensor(narrow).read(["celery", "mails"])
    assert found.queues == (
        QueueReading(name="celery", waiting=2),
        QueueReading(name="mails", waiting=None, error="NoPermissionError"),
    )
    assert sorted(found.faults) == ["mailboxes", "override"]


def test_ages_that_may_not_be_read_are_a_fault_and_not_only_unknown(server, client):
    fill(client, celery=2)
    client.hset("mistaken", "a", "b")
    client.acl_setuser("no-ages", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-lindex"])
    with redis.Redis.from_url(server.url, username="no-ages", password="x") as reader:
        aged = QueueSensor(lambda: reader, KeyLayout(), "autoscaler:a:override", wall=lambda: 1e9)
        found = aged.read(["celery", "mistaken"])
    why = "NoPermissionError: User no-ages has no permissions to run the 'lindex' command"
    assert found.faults == {"ages": why}
    whole = QueueSensor(lambda: client, KeyLayout(), "autoscaler:a:override", wall=lambda: 1e9)
    assert whole.read(["celery", "mistaken"]).faults == {}, "the depth of such a key is a fault already"


def test_without_the_right_to_ask_for_the_role_no_depth_is_trusted(client, server):
    client.execute_command("ACL", "SETUSER", "blind", "reset", "on", ">blind", "~*", "+llen")
    with redis.Redis(port=server.port, username="blind", password="blind") as blind:
        found = sensor(blind).read(["celery"]).queues
    assert found == (
        QueueReading(
            name="celery", waiting=None, error="ROLE failed (NoPermissionError); grant the user +role"
        ),
    )


def test_a_server_that_refuses_everything_is_a_fault_of_the_server(client, server):
    client.execute_command("ACL", "SETUSER", "nobody", "reset", "on", ">nobody")
    login = {"username": "nobody", "password": "nobody"}
    with redis.Redis(port=server.port, **login) as nobody, pytest.raises(BrokerError) as raised:
        sensor(nobody).read(["celery"])
    assert isinstance(raised.value.__cause__, NoPermissionError)


def test_a_server_that_is_down_raises(tmp_path):
    gone = RedisServer(tmp_path)
    with redis.Redis.from_url(gone.url) as client, pytest.raises(BrokerError):
        sensor(client).read(["celery"])


def reporting(name, *queues, **layout):
    return worker(name, queues=queues, layout=WorkerLayout(**layout) if layout else None)


def test_the_layout_that_the_workers_of_a_queue_report_is_followed(client):
    fill(client, **{"a": 1, "a|5": 2, f"a{SEP}3": 4, "app:b": 8, f"c{SEP}3": 16, "c|3": 32})
    workers = [
        reporting("a@h", "a", separator="|", priority_steps=(0, 5)),
        reporting("b@h", "b", global_keyprefix="app:"),
        reporting("c@h", "c", separator="|"),
        reporting("d@h", "c"),
    ]
    found = sensor(client).read(["a", "b", "c", "d"], workers)
    # Workers of one queue that differ: the lists of each.
    assert depths(found) == {"a": 3, "b": 8, "c": 48, "d": 0}


def test_the_separator_of_the_workers_is_seen_by_their_mailboxes(client):
    client.sadd("_kombu.binding.celery.pidbox", "||a@h.celery.pidbox", "||c@h.celery.pidbox")
    seen = []
    sensing = QueueSensor(lambda: client, KeyLayout(), "o", on_separator=seen.append)
    found = sensing.read([])
    assert (found.separator, seen, found.mailboxes) == ("|", ["|"], frozenset({"a@h", "c@h"}))


def test_a_node_of_a_redis_cluster_is_named_in_one_line(tmp_path):
    # Without it the cluster's own port is the server's and 10,000, which may be beyond the last port.
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with (
        RedisServer(tmp_path / "redis", options=options) as node,
        redis.Redis(port=node.port) as client,
        pytest.raises(BrokerError) as raised,
    ):
        sensor(client).read(["celery"])
    assert str(raised.value) == "the server is a node of a Redis Cluster, which Celery cannot use as a broker"
    assert raised.value.advice == "give the URL of a single server, or of sentinel:// for failover"


# Pure


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ([b"master", 0, []], None),
        (["master"], None),
        ([b"slave", b"h", 1, b"connected", 0], REPLICA),
        ([b"sentinel", []], REPLICA.replace("slave", "sentinel")),
        ([], REPLICA.replace("slave", "None")),
        (ResponseError("no"), "ROLE failed (ResponseError); grant the user +role"),
    ],
)
def test_depths_are_trusted_on_the_primary_alone(reply, fault):
    assert parse_role(reply) == fault


@given(st.lists(st.integers(0, 10**9) | st.just(ResponseError("WRONGTYPE x")), max_size=8))
def test_a_depth_is_a_sum_or_unknown(replies):
    broken = any(isinstance(reply, Exception) for reply in replies)
    found = parse_depth("q", replies, None)
    assert found == QueueReading(
        name="q", waiting=None if broken else sum(replies), error=WRONG_TYPE if broken else None
    )
