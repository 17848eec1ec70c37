"""The override that administrators store: its fields and bounds, and how it is kept in Redis."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.overrides import (
    NEVER,
    OverrideError,
    OverrideRequest,
    read_override,
    write_override,
)

SIZES = "it must be from 1 to 10000"
TIMES = "it must be seconds since the epoch"
FROM_NOW = f"{TIMES}, not from now on"
HOLD = "it must be an object of worker to time"


seconds = st.floats(1e9, 4e9)
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


@given(requests)
def test_an_override_comes_back_as_it_was_stored(request_):
    assert OverrideRequest.from_json(request_.to_json()) == request_


@given(requests, st.floats(0, 4e9))
def test_only_what_has_not_expired_stands(request_, now):
    found = request_.at(now)
    assert found.held_workers == {name for name, until in request_.hold_until.items() if until > now}
    if request_.expires_at is not None and request_.expires_at <= now:
        assert (found.paused, found.min_processes, found.max_processes) == (False, None, None)
    else:
        assert (found.paused, found.min_processes, found.max_processes) == (
            request_.paused,
            request_.min_processes,
            request_.max_processes,
        )
        assert (found.paused_until, found.limits_until) == (
            request_.expires_at if request_.paused else None,
            request_.expires_at if request_.has_limits else None,
        )


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        pytest.param({"paused": True, "expires_at": 2e9}, True, id="a pause"),
        pytest.param(
            {"paused": True, "expires_at": 1e9, "max": 3, "limits_expires_at": 2e9}, False, id="ended"
        ),
        pytest.param({"max": 3, "limits_expires_at": 1e9, "hold": {"a@h": 2e9}}, False, id="ended limits"),
        pytest.param({"max": 3, "hold": {"a@h": 1e9}}, True, id="limits beside a hold that ended"),
        pytest.param({"hold": {"a@h": 1e9, "b@h": 2e9}}, True, id="a hold"),
        pytest.param({"hold": {"a@h": 1e9}}, False, id="nothing"),
    ],
)
def test_who_and_why_end_with_what_they_were_for(request_, named):
    found = OverrideRequest.from_json(json.dumps({**request_, "by": "ann", "why": "x"})).at(1.5e9)
    assert (found.by, found.why) == (("ann", "x") if named else (None, None))


def test_limits_without_an_end_have_none():
    request_ = OverrideRequest(max_processes=3, limits_expires_at=NEVER)
    assert request_.at(1.5e9).limits_until is None


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ("", "override: it is not JSON"),
        ("{", "override: it is not JSON"),
        pytest.param("[" * 100_000, "override: it is not JSON", id="deeper than anything can be read"),
        ("[]", "override: it must be a JSON object"),
        ('{"hold": [1]}', f"override: hold is [1]; {HOLD}"),
        ('{"hold": []}', f"override: hold is []; {HOLD}"),
        ('{"hold": 0}', f"override: hold is 0; {HOLD}"),
        ('{"hold": ""}', f"override: hold is ''; {HOLD}"),
        ('{"hold": false}', f"override: hold is False; {HOLD}"),
        ('{"hold": "celery@w1"}', f"override: hold is 'celery@w1'; {HOLD}"),
        ('{"hold": {"a@h": null}}', f"override: hold of 'a@h' is None; {TIMES}"),
        ('{"hold": {"a@h": true}}', f"override: hold of 'a@h' is True; {TIMES}"),
        ('{"hold": {"a@h": 1800}}', f"override: hold of 'a@h' is 1800; {FROM_NOW}"),
        ('{"expires_at": 0}', f"override: expires_at is 0; {FROM_NOW}"),
        ('{"expires_at": "1800000000"}', f"override: expires_at is '1800000000'; {TIMES}"),
        ('{"limits_expires_at": []}', f"override: limits_expires_at is []; {TIMES}"),
        ('{"limits_expires_at": 3600}', f"override: limits_expires_at is 3600; {FROM_NOW}"),
        ('{"paused": 0}', "override: paused is 0; it must be true or false"),
        ('{"paused": []}', "override: paused is []; it must be true or false"),
        ('{"max": ""}', f"override: max is ''; {SIZES}"),
        ('{"max": []}', f"override: max is []; {SIZES}"),
        ('{"by": []}', "override: by is []; it must be a text"),
        ('{"why": {}}', "override: why is {}; it must be a text"),
        ('{"why": false}', "override: why is False; it must be a text"),
        (
            '{"pause": true}',
            (
                "override: 'pause' is no field;"
                " legal are by, expires_at, hold, limits_expires_at, max, min, paused, why"
            ),
        ),
        pytest.param(
            json.dumps({"max": "x" * 10**6}), f"override: max is '{'x' * 36}...; {SIZES}", id="a long value"
        ),
        ('{"paused": "yes"}', "override: paused is 'yes'; it must be true or false"),
        ('{"paused": null}', "override: paused is None; it must be true or false"),
        ('{"min": 0}', f"override: min is 0; {SIZES}"),
        ('{"max": 10001}', f"override: max is 10001; {SIZES}"),
        ('{"max": true}', f"override: max is True; {SIZES}"),
        ('{"min": 2.0}', f"override: min is 2.0; {SIZES}"),
        ('{"min": 5, "max": 3}', "override: min is 5, above max, 3"),
        ('{"hold": {"a@h": "soon"}}', f"override: hold of 'a@h' is 'soon'; {TIMES}"),
        ('{"hold": {"a@h": NaN}}', f"override: hold of 'a@h' is nan; {TIMES}"),
        ('{"expires_at": Infinity}', f"override: expires_at is inf; {TIMES}"),
        pytest.param(
            '{"expires_at": 1800000000000}',
            f"override: expires_at is 1800000000000; {TIMES}",
            id="milliseconds",
        ),
        ('{"expires_at": true}', f"override: expires_at is True; {TIMES}"),
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


def test_what_is_null_is_not_given_and_a_number_is_a_reason():
    names = ("min", "max", "hold", "expires_at", "limits_expires_at", "by")
    stored = json.dumps({**dict.fromkeys(names), "paused": True, "why": 4711})
    assert OverrideRequest.from_json(stored) == OverrideRequest(paused=True, why="4711")


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


def test_who_and_why_are_shortened_since_every_status_repeats_them():
    found = OverrideRequest.from_json(json.dumps({"by": "x" * 10**6, "why": "y" * 200}))
    assert (found.by, found.why) == ("x" * 197 + "...", "y" * 200)


def test_texts_that_utf_8_cannot_hold_are_read_as_their_escapes():
    request = OverrideRequest.from_json(r'{"paused": true, "why": "\ud800", "hold": {"w\udcff@h": 2e9}}')
    assert (request.why, request.hold_until) == (r"\ud800", {r"w\udcff@h": 2e9})
