"""``autoscaler status`` and ``events``: what a daemon last reported."""

from __future__ import annotations

import json
import time

import pytest

from autoscaler.broker.keys import Keys, read_status
from tests.support.cluster import started


@pytest.mark.slow
def test_a_running_daemon_follows_and_status_and_events_show_it(cluster, autoscaler):
    cluster.worker()
    daemon = cluster.daemon(target_wait="1s")
    assert autoscaler("pause", "--by", "ann").stderr == ""
    cluster.hold(40)
    started(lambda: daemon.reason("w1@h") == "paused", what="the pause")
    shown = autoscaler("status").stdout
    assert "default: mode act, leader, last tick" in shown
    assert "override: paused until it is resumed\noverride: by ann\n" in shown
    assert shown.splitlines()[-1] == "paused: an administrator paused the autoscaler" or (
        shown.splitlines()[-2] == "paused: an administrator paused the autoscaler"
    )
    assert json.loads(autoscaler("status", "--json").stdout)["name"] == "default"
    assert autoscaler("events").stdout == "no event yet\n"
    assert autoscaler("resume").stdout == "no override in force\n"
    started(lambda: daemon.status()["workers"][0]["processes"] > 1, what="a growth")
    started(lambda: len(autoscaler("events").stdout.splitlines()) > 1, what="its event")
    first = autoscaler("events").stdout.splitlines()[1].split()
    assert first[1:4] == ["w1@h", "1", "->"]
    assert json.loads(autoscaler("events", "--json").stdout)[0]["worker"] == "w1@h"
    cluster.release()


def test_a_status_that_nobody_reported_is_said(cluster, autoscaler):
    assert read_status(cluster.redis, "default") is None
    done = autoscaler("status")
    assert (done.exit_code, done.stdout) == (1, "")
    nobody = "autoscaler: no daemon named default has reported lately; is one running, and --name right?\n"
    assert done.stderr == nobody
    for words, said in ((("events",), "no event yet\n"), (("events", "--json"), "[]\n")):
        done = autoscaler(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (0, said, nobody)


def test_the_status_says_who_leads_and_names_the_worker_of_a_row_without_queues(cluster, autoscaler):
    counts = dict.fromkeys(("waiting", "reserved", "running", "processes"), 0)
    groups = [{"queues": [], "workers": ["w1@h"], **counts}, {"queues": ["a", "b"], "workers": [], **counts}]
    found = {"name": "default", "mode": "dry_run", "leader": True, "at": time.time(), "groups": groups}
    cluster.redis.set(Keys(name="default").status, json.dumps(found))
    lines = autoscaler("status").stdout.splitlines()
    assert lines[0].startswith("default: mode dry_run, leader, last tick ")
    assert [line.rsplit(maxsplit=4)[0] for line in lines[2:5]] == ["QUEUES", "none (w1@h)", "a,b"]
    gone = found | {
        "leader": False,
        "unresponsive": ["w1@h"],
        "decisions": [{"worker": "w1@h", "reason": "unknown_size", "desired_reason": "new_word"}],
    }
    cluster.redis.set(Keys(name="default").status, json.dumps(gone))
    assert autoscaler("status").stdout.splitlines()[-2:] == [
        "unknown_size: the worker did not report its size in this tick",
        "w1@h does not answer; nothing is known of it",
    ]
    cluster.redis.set(Keys(name="default").status, json.dumps(gone | {"workers": [{"worker": "w1@h"}]}))
    last = autoscaler("status").stdout.splitlines()[-1]
    assert last == "w1@h does not answer; what is shown of it is its last report"
    assert autoscaler("status").stdout.startswith("default: mode dry_run, standby, last tick ")
