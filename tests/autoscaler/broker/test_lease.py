"""One acting autoscaler for a fleet, on a real Valkey."""

from __future__ import annotations

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.lease import Lease
from autoscaler.demo.embedded import RedisServer, wait_until

KEY = "autoscaler:a:lease"


def lease(client, seconds=30.0):
    return Lease(lambda: client, KEY, seconds=seconds)


def test_one_holds_it_and_keeps_it(client):
    first, second = lease(client), lease(client)
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]


def test_each_renewal_gives_it_its_whole_time_again(client):
    first = lease(client)
    first.hold()
    client.pexpire(KEY, 500)
    assert first.hold()
    assert 29_000 < client.pttl(KEY) <= 30_000


def test_it_passes_on_at_once_when_it_is_released(client):
    first, second = lease(client), lease(client)
    first.hold()
    first.release()
    assert (second.hold(), first.hold()) == (True, False)


def test_it_passes_on_when_its_holder_stops_renewing_it(client):
    first, second = lease(client, seconds=0.3), lease(client)
    assert first.hold()
    started = time.monotonic()
    wait_until(second.hold, within_seconds=5, what="the change of hands")
    assert time.monotonic() - started < 2
    assert first.hold() is False


def test_one_that_expired_and_is_free_is_taken_again(client):
    first = lease(client)
    first.hold()
    client.delete(KEY)
    assert first.hold()


def test_a_release_leaves_alone_what_another_has_taken(client):
    first, second = lease(client), lease(client)
    first.hold()
    client.delete(KEY)
    second.hold()
    first.release()
    assert second.hold()


def test_a_release_without_a_lease_does_nothing(client):
    lease(client).release()
    assert client.keys("*") == []


def test_a_redis_that_is_down_is_reported_and_a_release_raises_nothing(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        first = lease(client)
        first.hold()
        server.stop()
        first.release()
        with pytest.raises(BrokerError):
            first.hold()


def test_a_renewal_that_failed_keeps_our_own_token_and_renews_with_it(client, tmp_path):
    down = redis.Redis(port=RedisServer(tmp_path).port, retry=Retry(NoBackoff(), 0))
    clients = [client, down, client]
    first = Lease(lambda: clients.pop(0), KEY, seconds=30.0)
    assert first.hold()
    with pytest.raises(BrokerError):
        first.hold()
    assert first.hold()


class LosesTheReply:
    """A client whose SET reaches the server and whose answer is lost."""

    def __init__(self, client):
        self._client = client

    def lock(self, key, **options):
        return self._client.__class__.lock(self, key, **options)

    def set(self, *words, **options):
        self._client.set(*words, **options)
        raise redis.TimeoutError("Timeout reading from socket")

    def __getattr__(self, name):
        return getattr(self._client, name)


def test_a_lease_that_was_taken_while_its_answer_was_lost_is_ours_at_the_next_call(client):
    clients = [LosesTheReply(client), client, client]
    first = Lease(lambda: clients.pop(0), KEY, seconds=30.0)
    with pytest.raises(BrokerError):
        first.hold()
    assert first.hold()


def test_a_key_that_no_daemon_has_set_is_named(client):
    client.hset(KEY, "a", "b")
    with pytest.raises(BrokerError, match=f"lease: the key {KEY} is not a string") as raised:
        lease(client).hold()
    assert raised.value.advice == f"delete the key {KEY}"


def test_after_a_fault_another_that_has_taken_it_meanwhile_keeps_it(client, tmp_path):
    down = redis.Redis(port=RedisServer(tmp_path).port, retry=Retry(NoBackoff(), 0))
    clients = [client, down, client, client, client]
    first = Lease(lambda: clients.pop(0), KEY, seconds=30.0)
    first.hold()
    with pytest.raises(BrokerError):
        first.hold()
    client.delete(KEY)
    assert lease(client).hold()
    assert first.hold() is False
