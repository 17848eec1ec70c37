"""What is shared through Redis: keys, overrides, status and events."""

from __future__ import annotations

import json

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.keys import (
    MAX_EVENTS,
    Keys,
    OverrideError,
    OverrideRequest,
    publish,
    read_override,
    read_status,
    write_override,
)
from autoscaler.core.model import Override
from autoscaler.demo.embedded import RedisServer

SIZES = "it must be from 1 to 10000"
TIMES = "override: hold and expires_at must be seconds since the epoch"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as one:
        one.flushall()
        yield one


seconds = st.floats(0, 4e9)
words = st.none() | st.text(max_size=20)
requests = st.builds(
    OverrideRequest,
    paused=st.booleans(),
    min_processes=st.none() | st.integers(1, 50),
    max_processes=st.none() | st.integers(50, 10_000),
    hold_until=st.dictionaries(st.text(max_size=20), seconds, max_size=4),
    expires_at=st.none() | seconds,
    by=words,
    why=words,
)


def test_the_keys_are_those_of_the_contract():
    keys = Keys(name="a@h")
    assert (keys.status, keys.events, keys.override, keys.lease) == (
        "autoscaler:a@h:status",
        "autoscaler:a@h:events",
        "autoscaler:a@h:override",
        "autoscaler:a@h:lease",
    )


@given(requests)
def test_an_override_comes_back_as_it_was_stored(request_):
    assert OverrideRequest.from_json(request_.to_json()) == request_


@given(requests, st.floats(0, 4e9))
def test_only_what_has_not_expired_stands(request_, now):
    found = request_.at(now)
    assert found.held_workers == {name for name, until in request_.hold_until.items() if until > now}
    if request_.expires_at is not None and request_.expires_at <= now:
        assert found == Override(held_workers=found.held_workers)
    else:
        assert (found.paused, found.min_processes, found.max_processes, found.by, found.why) == (
            request_.paused,
            request_.min_processes,
            request_.max_processes,
            request_.by,
            request_.why,
        )


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ("", "override: it is no JSON"),
        ("{", "override: it is no JSON"),
        pytest.param("[" * 100_000, "override: it is no JSON", id="deeper than anything can be read"),
        ("[]", "override: it must be a JSON object, and hold in it one of worker to time"),
        ('{"hold": [1]}', "override: it must be a JSON object, and hold in it one of worker to time"),
        ('{"paused": "yes"}', "override: paused is 'yes'; it must be true or false"),
        ('{"paused": null}', "override: paused is None; it must be true or false"),
        ('{"min": 0}', f"override: min is 0; {SIZES}"),
        ('{"max": 10001}', f"override: max is 10001; {SIZES}"),
        ('{"max": true}', f"override: max is True; {SIZES}"),
        ('{"min": 2.0}', f"override: min is 2.0; {SIZES}"),
        ('{"min": 5, "max": 3}', "override: min is 5, above max, 3"),
        ('{"hold": {"a@h": "soon"}}', TIMES),
        ('{"hold": {"a@h": NaN}}', TIMES),
        ('{"expires_at": Infinity}', TIMES),
        pytest.param('{"expires_at": 1800000000000}', TIMES, id="milliseconds"),
        ('{"expires_at": true}', TIMES),
    ],
)
def test_an_override_that_is_not_legal_says_what_is(stored, fault):
    with pytest.raises(OverrideError) as caught:
        OverrideRequest.from_json(stored)
    assert str(caught.value) == fault


@given(
    st.text(max_size=30)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_junk_never_raises_anything_else(stored):
    with pytest.raises(OverrideError):
        OverrideRequest.from_json(stored)


def test_no_override_is_an_empty_one(client):
    assert read_override(client, "a") == OverrideRequest()


def test_an_override_is_read_by_another_client_and_each_autoscaler_has_its_own(client):
    request_ = OverrideRequest(paused=True, by="ann", why="a release")
    write_override(client, "a", request_, now=1000.0)
    assert (read_override(client, "a"), read_override(client, "b")) == (request_, OverrideRequest())


@pytest.mark.parametrize(
    ("request_", "milliseconds"),
    [
        pytest.param(OverrideRequest(paused=True), -1, id="a pause without an end stays"),
        pytest.param(OverrideRequest(max_processes=3, expires_at=1060.0), 60_000, id="until it expires"),
        pytest.param(OverrideRequest(hold_until={"w": 1030.0}), 30_000, id="until the hold ends"),
        pytest.param(
            OverrideRequest(paused=True, expires_at=1010.0, hold_until={"w": 1030.0}),
            30_000,
            id="until the last part ends",
        ),
        pytest.param(
            OverrideRequest(paused=True, hold_until={"w": 1030.0}),
            -1,
            id="a pause without an end outlives a hold",
        ),
    ],
)
def test_an_override_leaves_redis_with_its_last_part(client, request_, milliseconds):
    write_override(client, "a", request_, now=1000.0)
    left = client.pttl("autoscaler:a:override")
    assert left == milliseconds or milliseconds - 2000 < left <= milliseconds


@pytest.mark.parametrize("request_", [OverrideRequest(), OverrideRequest(paused=True, expires_at=900.0)])
def test_an_override_that_asks_for_nothing_any_more_does_not_stay(client, request_):
    write_override(client, "a", request_, now=1000.0)
    assert client.pttl("autoscaler:a:override") in {-2, 0, 1}


def test_status_and_events_are_stored_in_one_go(client):
    events = [{"worker": "w@h", "target": 4, "detail": None}]
    publish(client, "a", {"at": 5.0}, events, expiry_seconds=6.0)
    assert read_status(client, "a") == {"at": 5.0}
    assert 4000 < client.pttl("autoscaler:a:status") <= 6000
    assert [fields for _, fields in client.xrange("autoscaler:a:events")] == [
        {b"worker": b"w@h", b"target": b"4", b"detail": b""}
    ]


def test_a_status_that_nobody_wrote_is_none(client):
    assert read_status(client, "a") is None


def test_the_stream_of_events_is_trimmed(client):
    for _ in range(12):
        publish(client, "a", {}, [{"n": 1}] * 200, expiry_seconds=6.0)
    assert MAX_EVENTS <= client.xlen("autoscaler:a:events") < 1.2 * MAX_EVENTS
