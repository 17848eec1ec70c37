"""Many replies are taken at once, and one by one where a server does not allow that."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from kombu import Connection, Producer
from kombu.exceptions import ContentDisallowed, DecodeError

from autoscaler.control.waiting_replies import Reply, WaitingReplies
from autoscaler.demo.embedded import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = {"content-type": "application/json", "content-encoding": "utf-8", "headers": {}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("replies")
    with RedisServer(folder / "redis") as server:
        yield server


def texts(count: int) -> list[str]:
    properties = {"delivery_info": {}, "delivery_tag": "t"}
    return [
        json.dumps({**MESSAGE, "body": json.dumps(number), "properties": properties})
        for number in range(count)
    ]


@pytest.mark.parametrize("prefix", ["", "mine:"])
def test_all_that_waits_is_taken_in_the_order_of_its_coming_and_junk_is_left_out(server: RedisServer, prefix):
    taken: list[Reply] = []
    options = {"global_keyprefix": prefix}
    with Connection(server.url, transport_options=options) as connection:
        channel = connection.default_channel
        channel.client.lpush("replies", *texts(1200), "junk", "[]", "{}")
        WaitingReplies().take(channel, ["replies"], 1200, taken.append)
        assert [message.decode() for message in taken] == list(range(1200))
        assert channel.client.llen("replies") == 0


def test_few_are_left_to_kombu(server: RedisServer):
    taken: list[Reply] = []
    with Connection(server.url) as connection:
        channel = connection.default_channel
        channel.client.lpush("few", *texts(3))
        WaitingReplies().take(channel, ["few"], 3, taken.append)
        assert (taken, channel.client.llen("few")) == ([], 3)


def test_a_user_without_the_right_is_refused_once_and_loses_no_reply(server: RedisServer):
    taken: list[Reply] = []
    with Connection(server.url) as owner:
        client = owner.default_channel.client
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-rpop")
        client.execute_command("ACL", "LOG", "RESET")
        client.lpush("many", *texts(20))
        with Connection(server.url.replace("redis://", "redis://poor:pw@")) as connection:
            waiting = WaitingReplies()
            for _ in range(3):
                waiting.take(connection.default_channel, ["many"], 20, taken.append)
        refused = [int(entry["count"]) for entry in client.acl_log()]
        assert (taken, client.llen("many"), refused) == ([], 20, [1])


def test_a_reply_is_read_as_kombu_reads_it(server: RedisServer):
    taken: list[Reply] = []
    sent = [
        {"w@h": {"size": 3, "name": "ü", "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}},
        {"w@h": {"ok": [1.5, None, True]}},
        {},
    ]
    with Connection(server.url) as connection:
        channel = connection.default_channel
        producer = Producer(channel, routing_key="answers", serializer="json", auto_declare=False)
        for body in sent:
            producer.publish(body, headers={"ticket": "t"})
            producer.publish(body, headers={"ticket": "t"}, compression="zlib")
        WaitingReplies().take(channel, ["answers"], 20, taken.append)
    assert [one.decode() for one in taken] == [body for body in sent for _ in range(2)]
    assert {(one.headers["ticket"], one.content_type) for one in taken} == {("t", "application/json")}


def test_a_reply_that_is_not_json_is_refused_and_its_sender_can_be_looked_for(server: RedisServer):
    taken: list[Reply] = []
    with Connection(server.url) as connection:
        channel = connection.default_channel
        producer = Producer(channel, routing_key="pickles", serializer="pickle", auto_declare=False)
        producer.publish({"w@h": {"size": 3}}, headers={"ticket": "t"})
        WaitingReplies().take(channel, ["pickles"], 20, taken.append)
        (reply,) = taken
        with pytest.raises(ContentDisallowed):
            reply.decode()
    # The serializer of kombu chooses its protocol of pickle by itself.
    assert reply.content_type == "application/x-python-serialize"
    assert pickle.loads(reply.body) == {"w@h": {"size": 3}}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_broken_reply_is_an_error_of_decoding(server: RedisServer, body: bytes):
    properties = {"delivery_info": {}, "delivery_tag": "t", "body_encoding": "base64"}
    message = {**MESSAGE, "body": b64encode(body).decode(), "properties": properties}
    with Connection(server.url) as connection:
        reply = Reply(json.dumps(message).encode(), connection.default_channel)
        with pytest.raises(DecodeError):
            reply.decode()
