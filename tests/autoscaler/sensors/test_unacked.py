"""How many messages were fetched and not acknowledged, read from a real Valkey in one round trip."""

from __future__ import annotations

import pytest
import redis

from autoscaler.broker.errors import BrokerError
from autoscaler.demo.embedded import RedisServer
from autoscaler.sensors.unacked import UnackedSensor


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as one:
        one.flushall()
        yield one


def fill(client, **hashes):
    for key, length in hashes.items():
        client.hset(key, mapping=dict.fromkeys(map(str, range(length)), "{}"))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], 0),
        ([(None, None)], 3),
        ([("", "shop-unacked")], 50),
        ([(None, "shop-unacked"), (None, None)], 7),
        ([("", "unacked"), ("", None)], 11),  # one hash, named twice
        ([("app:", "none")], 0),
    ],
)
def test_each_place_is_counted_once(client, places, expected):
    fill(client, **{"app:unacked": 3, "app:shop-unacked": 4, "shop-unacked": 50, "unacked": 11})
    assert UnackedSensor(lambda: client, prefix="app:").read(places) == expected


def test_the_settings_name_the_hash_of_workers_that_report_none(client):
    fill(client, mine=2, unacked=9)
    assert UnackedSensor(lambda: client, key="mine").read([(None, None)]) == 2


def test_a_key_of_another_type_is_a_fault_and_never_0(client):
    fill(client, unacked=2)
    client.set("shop-unacked", "text")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        UnackedSensor(lambda: client).read([(None, None), (None, "shop-unacked")])


def test_a_large_hash_is_counted(client):
    with client.pipeline() as pipeline:
        for start in range(0, 200_000, 20_000):
            pipeline.hset("unacked", mapping=dict.fromkeys(map(str, range(start, start + 20_000)), ""))
        pipeline.execute()
    assert UnackedSensor(lambda: client).read([(None, None)]) == 200_000
