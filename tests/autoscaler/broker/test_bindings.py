"""The queues that kombu has bound, consumed or not, and none of remote control and events."""

from __future__ import annotations

import kombu
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.bindings import find_bound_queues, parse_queue
from autoscaler.broker.errors import BrokerError

SEP = "\x06\x16"


@given(st.binary(max_size=40))
def test_any_member_can_be_read(member):
    assert isinstance(parse_queue(member), str)


@pytest.mark.parametrize(
    ("member", "queue"),
    [
        (f"mails{SEP}{SEP}mails", "mails"),
        (f"{SEP}{SEP}w@h.celery.pidbox", "w@h.celery.pidbox"),
        ("mails", ""),
        (f"a{SEP}b", ""),
    ],
)
def test_the_last_part_of_a_member_is_the_queue(member, queue):
    assert parse_queue(member.encode()) == queue


@pytest.mark.parametrize("prefix", ["", "shop[*]:"])
def test_a_queue_that_something_was_sent_to_is_found_without_a_worker(client, server, prefix):
    options = {"global_keyprefix": prefix} if prefix else {}
    with kombu.Connection(server.url, transport_options=options) as connection:
        producer = connection.Producer()
        for name in ("reports", "a.b"):
            exchange = kombu.Exchange(name, type="direct")
            queue = kombu.Queue(name, exchange, routing_key=name)
            producer.publish({}, exchange=exchange, routing_key=name, declare=[queue])
    for other in (f"x{prefix}_kombu.binding.others", f"{prefix}_kombu.binding.celery.pidbox"):
        client.sadd(other, f"{SEP}{SEP}none")
    client.sadd(f"{prefix}_kombu.binding.celeryev", f"worker.#{SEP}{SEP}celeryev.1")
    client.set(f"{prefix}_kombu.binding.text", "no set")
    assert find_bound_queues(client, prefix) == {"reports", "a.b"}


def test_without_the_right_to_look_it_says_so(client, server):
    client.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">reader", "%R~*", "+smembers")
    with (
        redis.Redis(port=server.port, username="reader", password="reader") as reader,
        pytest.raises(BrokerError, match="scan"),
    ):
        find_bound_queues(reader, "")
