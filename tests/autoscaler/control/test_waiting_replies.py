"""Many replies are taken at once, and one by one where a server does not allow that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from kombu import Connection

from autoscaler.control.waiting_replies import WaitingReplies
from autoscaler.demo.embedded import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kombu.message import Message

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
    taken: list[Message] = []
    options = {"global_keyprefix": prefix}
    with Connection(server.url, transport_options=options) as connection:
        channel = connection.default_channel
        channel.client.lpush("replies", *texts(1200), "junk", "[]", "{}")
        WaitingReplies().take(channel, ["replies"], 1200, taken.append)
        assert [message.decode() for message in taken] == list(range(1200))
        assert channel.client.llen("replies") == 0


def test_few_are_left_to_kombu(server: RedisServer):
    taken: list[Message] = []
    with Connection(server.url) as connection:
        channel = connection.default_channel
        channel.client.lpush("few", *texts(3))
        WaitingReplies().take(channel, ["few"], 3, taken.append)
        assert (taken, channel.client.llen("few")) == ([], 3)


def test_a_user_without_the_right_is_refused_once_and_loses_no_reply(server: RedisServer):
    taken: list[Message] = []
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
