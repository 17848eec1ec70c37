"""``autoscaler history``: what a daemon did, from what it has stored in Redis."""

from __future__ import annotations

import json
import time

import pytest

from autoscaler.broker.history_store import write_history
from autoscaler.broker.keys import Keys, publish
from autoscaler.cli.history import sparkline
from autoscaler.report.history import History, TargetWaits
from tests.support.builders import look, worker
from tests.support.ticks import Ticks

WORKER = "w\x1b[31m\u202e@h"


def store(cluster, *, seconds_ago=100.0):
    """Store the history of a daemon that saw 40 ticks in 80 s and resized twice, once in vain."""
    wall = time.time() - seconds_ago
    ticks, kept = Ticks(wall=wall), History(target_waits=TargetWaits(5.0))
    for number in range(40):
        seen = look(number % 8, worker(WORKER, 2 + number // 20, busy=2, companion=False))
        kept.take(ticks.tick(seen), hold_seconds=6)
    write_history(cluster.redis, "default", kept.changed()[0])
    plain = {"worker": WORKER, "command": "pool_resize", "before": 2, "target": 3}
    events = [
        {**plain, "at": ticks.wall - 40, "reason": "latency", "result": "done", "detail": None},
        {**plain, "at": ticks.wall - 4000, "reason": "latency", "result": "done", "detail": None},
        {**plain, "at": ticks.wall - 4, "reason": "at_max", "result": "refused", "detail": "busy"},
    ]
    publish(cluster.redis, "default", "{}", events, expiry_seconds=60)


@pytest.fixture
def stored(cluster):
    store(cluster)


def test_what_a_daemon_stored_that_is_gone_is_not_shown_as_of_now(cluster, autoscaler):
    store(cluster, seconds_ago=680.0)
    lines = autoscaler("history", "--since", "15m").stdout.splitlines()
    assert lines[1] == "nothing was stored for 10 min: no daemon of this name acts; what follows is older"
    assert lines[4].split()[-6:] == ["10", "min", "ago", "3", "highest", "3"]
    assert lines[7].startswith(r"condition then:  worker  w\x1b[31m\u202e@h  since ")


@pytest.mark.usefixtures("stored")
def test_it_prints_curves_figures_conditions_and_each_resize(autoscaler):
    done = autoscaler("history", "--since", "15m")
    lines = done.stdout.splitlines()

    assert (done.exit_code, done.stderr) == (0, "")
    assert lines[0].startswith("default: the last 15 min until ")
    assert [line.split()[0] for line in lines[1:5]] == ["waiting", "running", "processes", "oldest"]
    assert lines[3].split()[-4:] == ["now", "3", "highest", "3"]
    assert lines[5].startswith("known 80 s of 15 min; process-hours 0.06, a fixed pool of the peak (3) 0.07")
    assert lines[6].startswith(r"condition:  worker  w\x1b[31m\u202e@h  since ")
    resizes = [line.split()[2:7] for line in lines[8:]]
    assert resizes == [["2", "->", "3", "done", "latency"], ["2", "->", "3", "refused", "at_max"]]
    assert "\x1b" not in done.stdout


@pytest.mark.usefixtures("stored")
def test_with_why_it_says_what_each_reason_means_and_what_the_worker_answered(autoscaler):
    last = autoscaler("history", "--why").stdout.splitlines()[-1]
    assert "limited by the configured maximum" in last
    assert last.endswith("busy")


@pytest.mark.usefixtures("stored")
def test_as_json_it_is_what_the_page_shows(autoscaler):
    found = json.loads(autoscaler("history", "--since", "24h", "--json").stdout)
    assert found["summary"]["peak_processes"] == 3
    assert [one["result"] for one in found["actions"]] == ["done", "done", "refused"]
    assert found["name"] == "default"
    assert None in found["columns"]["waiting"]


def test_a_history_that_nobody_stored_or_that_another_version_stored_is_said(cluster, autoscaler):
    nobody = autoscaler("history")
    cluster.redis.hset(Keys(name="default").history, mapping={"meta": json.dumps({"version": 99})})
    other = autoscaler("history")
    expected = "autoscaler: no daemon named default has a history here; is one running, and --name right?\n"
    assert {(one.exit_code, one.stdout, one.stderr) for one in (nobody, other)} == {(1, "", expected)}


def test_a_daemon_that_has_stored_nothing_yet_is_said_to_run(cluster, autoscaler):
    publish(cluster.redis, "default", '{"at": 1}', [], expiry_seconds=60)
    done = autoscaler("history")
    expected = (
        "autoscaler: the daemon named default runs and has stored no history yet: it does so every 10 s; try"
        " again, and where that does not help, its log says why as history.not_stored\n"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", expected)


@pytest.mark.parametrize("since", ["", "0", "25h", "1d", "soon"])
def test_a_time_that_is_not_legal_is_refused_with_what_is(autoscaler, since):
    done = autoscaler("history", "--since", since)
    assert done.exit_code == 2
    assert "it must be a time from 1s to 24h, as in 90s, 15m or 24h" in done.stderr


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1, 2, 4], 4, "▁▃▅█"),
        ([None, 3, None, None], 4, " █  "),
        ([0, 0], 4, "▁▁"),
        ([1, None, 8, 4], 2, "▂█"),
        ([None], 4, " "),
    ],
)
def test_a_curve_shows_a_gap_where_nothing_is_known_and_a_peak_in_each_part(values, width, drawn):
    assert sparkline(values, width) == drawn
