"""What is shared through Redis: keys, status and events."""

from __future__ import annotations

import json

import pytest

from autoscaler.broker.errors import BrokerError
from autoscaler.broker.keys import MAX_EVENTS, Keys, publish, read_status


def test_the_keys_are_those_of_the_contract():
    keys = Keys(name="a@h")
    assert (keys.status, keys.events, keys.override, keys.lease) == (
        "autoscaler:a@h:status",
        "autoscaler:a@h:events",
        "autoscaler:a@h:override",
        "autoscaler:a@h:lease",
    )


def test_status_and_events_are_stored_in_one_go(client):
    events = [{"worker": "w@h", "target": 4, "detail": None}]
    publish(client, "a", json.dumps({"at": 5.0}), events, expiry_seconds=6.0)
    assert read_status(client, "a") == {"at": 5.0}
    assert 4000 < client.pttl("autoscaler:a:status") <= 6000
    assert [fields for _, fields in client.xrange("autoscaler:a:events")] == [
        {b"worker": b"w@h", b"target": b"4", b"detail": b""}
    ]


def test_a_status_that_nobody_wrote_is_none(client):
    assert read_status(client, "a") is None


def test_the_stream_of_events_is_trimmed(client):
    for _ in range(12):
        publish(client, "a", "{}", [{"n": 1}] * 200, expiry_seconds=6.0)
    assert MAX_EVENTS <= client.xlen("autoscaler:a:events") < 1.2 * MAX_EVENTS


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "{",
        "[]",
        pytest.param("[" * 100_000, id="deep"),
        '{"at": "noon"}',
        '{"at": true}',
        '{"workers": 3}',
        '{"groups": null}',
        '{"decisions": [1]}',
        '{"unresponsive": "w"}',
        '{"faults": []}',
        '{"groups": [{"queues": "q"}]}',
    ],
)
def test_a_status_that_is_junk_is_none(client, junk):
    client.set("autoscaler:a:status", junk)
    assert read_status(client, "a") is None


def test_a_store_that_fails_says_why_and_repeats_no_value(client):
    client.rpush("autoscaler:a:events", "no stream")
    with pytest.raises(BrokerError) as raised:
        publish(client, "a", json.dumps({"secret": "value"}), [{"n": 1}], expiry_seconds=6.0)
    assert str(raised.value) == (
        "ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value"
    )
