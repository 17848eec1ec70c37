"""The daemon as its own process, over real workers."""

from __future__ import annotations

import json
import re
import signal
import time
from datetime import UTC, datetime

import pytest

from autoscaler.broker.keys import read_status
from autoscaler.broker.overrides import OverrideRequest, write_override
from tests.support.cluster import ROOT, command, started

W1, W2 = "w1@h", "w2@h"


def size(daemon, worker=W1):
    found = daemon.metric("worker_processes", worker=worker)
    return None if found is None else int(found)


@pytest.mark.slow
def test_a_worker_grows_under_a_backlog_and_shrinks_when_it_is_gone_and_nothing_is_lost(cluster):
    cluster.worker()
    daemon = cluster.daemon()
    cluster.send(40, 0.25)
    started(lambda: size(daemon) == 6, what="growth to max")
    started(lambda: size(daemon) == 1, what="shrink to min")
    started(lambda: len(cluster.ended()) == 40, what="all tasks")
    assert cluster.lost_and_twice(40) == (0, 0)
    resized = daemon.events("pool.resized")
    assert {(line["command"], line["result"]) for line in resized} == {("pool_resize", "done")}
    assert (resized[0]["before"], resized[-1]["target"]) == (1, 1)
    assert daemon.metric("actions_total", action="grow", result="done") >= 1


@pytest.mark.slow
def test_every_metric_that_it_serves_is_on_the_page_on_metrics(cluster):
    cluster.worker()
    daemon = cluster.daemon()
    started(lambda: size(daemon) == 1, what="a reading")
    served = set(re.findall(r"^# HELP (\S+)", daemon.get("/metrics")[1], re.MULTILINE))
    page = (ROOT / "docs/metrics.md").read_text()
    assert served - set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set()


@pytest.mark.slow
def test_without_the_companion_it_grows_and_shrinks_only_while_idle(cluster):
    cluster.worker(companion=False, processes=4)
    cluster.hold(1)
    started(lambda: cluster.redis.hlen("started") == 1, what="the start of the task")
    daemon = cluster.daemon()
    started(lambda: daemon.reason(W1) == "shrink_limited", what="a shrink that is held back")
    assert size(daemon) == 4
    assert daemon.metric("worker_companion", worker=W1) == 0
    assert "autoscaler.companion" in daemon.status()["workers"][0]["shrinks"]
    cluster.release()
    started(lambda: size(daemon) == 1, what="the shrink of the idle worker")
    assert cluster.lost_and_twice(1) == (0, 0)
    cluster.redis.delete("release")
    cluster.hold(12)
    started(lambda: (size(daemon) or 0) > 1, what="growth")
    cluster.release()
    assert {line["command"] for line in daemon.events("pool.resized")} == {"pool_grow", "pool_shrink"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reason"), [(("--dry-run",), "dry_run"), (("--enabled", "false"), "disabled")]
)
def test_in_a_dry_run_it_decides_and_exports_and_sends_nothing(cluster, words, reason):
    cluster.worker()
    daemon = cluster.daemon(*words)
    cluster.send(30, 0.2)
    started(lambda: daemon.reason(W1) == reason, what="a decision that is not carried out")
    assert daemon.decision(W1)["wanted"] == 6
    started(lambda: len(cluster.ended()) == 30, what="all tasks, by one process")
    assert size(daemon) == 1
    assert daemon.events("pool.resized") == []


@pytest.mark.slow
def test_once_prints_what_would_be_done_and_why_and_does_nothing(cluster):
    cluster.worker(companion=False)  # starts a process in five seconds: the target is kept by what is there
    cluster.hold(9)
    code, out, err = command("once", "--max", "5", "--json", REDIS_URL=cluster.server.url)
    assert (code, err) == (0, "")
    found = json.loads(out)["decisions"]
    assert [(one["worker"], one["current"], one["wanted"], one["cause"]) for one in found] == [
        (W1, 1, 2, "latency")
    ]
    code, out, _ = command("once", "--max", "5", REDIS_URL=cluster.server.url)
    assert code == 0
    assert out.splitlines()[1].split()[-3:] == ["1", "2", "latency"]
    assert not list(cluster.redis.scan_iter("autoscaler:*"))


@pytest.mark.slow
def test_check_names_what_is_missing_and_what_to_do(cluster):
    code, out, _ = command("check", "--max", "5", REDIS_URL=cluster.server.url)
    assert code == 1
    assert "fail  workers: none answered" in out
    cluster.worker(companion=False)
    code, out, _ = command("check", "--max", "5", REDIS_URL=cluster.server.url)
    assert code == 0
    assert "-> start the worker with -I autoscaler.companion" in out
    code, out, _ = command("check", REDIS_URL=cluster.server.url)
    assert code == 1
    assert "max is auto and no limit is known" in out


@pytest.mark.slow
def test_an_administrators_override_is_kept_to_until_it_expires(cluster):
    cluster.worker()
    request = OverrideRequest(paused=True, by="ann", why="migration", expires_at=time.time() + 600)
    write_override(cluster.redis, "default", request, now=time.time())
    daemon = cluster.daemon()
    cluster.send(120, 0.2)
    started(lambda: daemon.reason(W1) == "paused", what="the pause")
    assert daemon.status()["override"]["by"] == "ann"
    until = datetime.fromtimestamp(request.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    said = {
        line["name"]: line["state"] for line in daemon.events("condition") if line["subject"] == "override"
    }
    assert said == {"pause": f"paused by ann until {until}: migration"}
    assert size(daemon) == 1
    write_override(cluster.redis, "default", OverrideRequest(max_processes=3), now=time.time())
    started(lambda: size(daemon) == 3, what="growth to the lowered max")
    started(lambda: daemon.reason(W1) == "at_max", what="the stop at the lowered max")
    assert daemon.status()["workers"][0]["limits"]["max"] == 3
    assert daemon.metric("worker_processes_limit", worker=W1, bound="max") == 3
    hold = OverrideRequest(hold_until={W1: time.time() + 600})
    write_override(cluster.redis, "default", hold, now=time.time())
    started(lambda: daemon.reason(W1) == "held", what="the hold")
    cluster.redis.set("autoscaler:default:override", "no json")
    started(lambda: daemon.metric("sensor_errors_total", sensor="override"), what="the fault in the override")
    assert daemon.reason(W1) == "held"
    cluster.redis.set("autoscaler:default:override", '{"hold": []}')
    fault = "override: hold is []; it must be an object of worker to time"
    said = lambda: [line for line in daemon.events("condition") if line.get("state") == fault]  # noqa: E731
    started(said, what="the next fault in the override")
    ticks = daemon.metric("tick_duration_seconds_count")
    started(lambda: daemon.metric("tick_duration_seconds_count") > ticks + 3, what="more ticks")
    assert (daemon.reason(W1), len(said()), said()[0]["name"]) == ("held", 1, "override")


@pytest.mark.slow
def test_the_status_is_stored_and_expires_with_its_daemon(cluster):
    cluster.worker()
    daemon = cluster.daemon()
    started(lambda: read_status(cluster.redis, "default"), what="the stored status")
    stored = read_status(cluster.redis, "default")
    assert [worker["worker"] for worker in stored["workers"]] == [W1]
    # Three times the interval, or the last tick where that took longer: a busy machine may stretch it.
    started(lambda: 0 < cluster.redis.pttl("autoscaler:default:status") <= 10_000, what="a bounded expiry")
    daemon.process.kill()
    started(lambda: read_status(cluster.redis, "default") is None, what="the expiry")


@pytest.mark.slow
def test_of_two_daemons_for_a_fleet_one_acts_and_the_other_takes_over(cluster):
    cluster.worker()
    first = cluster.daemon()
    second = cluster.daemon()
    started(lambda: first.metric("leader") == 1, what="the first leader")
    assert second.metric("leader") == 0
    cluster.send(60, 0.3)
    started(lambda: size(second) == 6, what="growth")
    assert second.events("pool.resized") == []
    first.process.send(signal.SIGSTOP)
    started(lambda: second.metric("leader") == 1, what="the takeover")
    started(lambda: size(second) == 1, what="the shrink by the second")
    first.process.send(signal.SIGCONT)
    started(lambda: first.metric("leader") == 0, what="the first one's stepping back")
    assert size(second) == 1
    second.process.stop()  # it gives the lease up: the first need not wait for its expiry
    started(lambda: first.metric("leader") == 1, within_seconds=5, what="the first one's return")


@pytest.mark.slow
def test_a_sidecar_resizes_its_own_worker_alone_and_counts_the_other_in(cluster):
    cluster.worker(W1)
    cluster.worker(W2)
    daemon = cluster.daemon("--worker", W1)
    cluster.send(60, 0.3)
    started(lambda: size(daemon, W1) == 6, what="growth of its own worker")
    assert size(daemon, W2) == 1
    assert [one["worker"] for one in daemon.status()["decisions"]] == [W1]
    assert daemon.status()["name"] == W1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("companion", "options"),
    [
        (False, ("--pool", "threads")),
        (False, ("--pool", "gevent")),
        (True, ("--pool", "solo")),
        (True, ("--autoscale", "3,1")),
    ],
    ids=["stock threads", "stock gevent", "solo", "autoscale"],
)
def test_a_worker_that_cannot_be_resized_is_named_once_and_left_alone(cluster, companion, options):
    cluster.worker(W1, *options, companion=companion)
    daemon = cluster.daemon()
    cluster.send(8, 0.1)
    started(lambda: daemon.reason(W1) == "unsupported", what="the reason")
    started(lambda: len(cluster.ended()) == 8, what="all tasks")
    named = [line for line in daemon.events("condition") if line["name"] == W1]
    assert [line["subject"] for line in named] == ["worker"]
    assert named[0]["state"].startswith(("its ", "it runs with --autoscale"))
    assert daemon.events("pool.resized") == []


@pytest.mark.slow
def test_the_series_of_a_worker_that_is_gone_are_removed(cluster):
    worker = cluster.worker(W1)
    cluster.worker(W2)
    daemon = cluster.daemon(stale_after="1")
    started(lambda: size(daemon, W1) == 1, what="the first reading")
    worker.stop()
    started(lambda: size(daemon, W1) is None, what="the end of its series")
    started(lambda: W1 not in daemon.get("/metrics")[1], what="the end of all its series")
    assert size(daemon, W2) == 1


@pytest.mark.slow
def test_sigterm_ends_it_in_time_with_exit_code_0_also_when_redis_does_not_answer(cluster):
    cluster.worker()
    daemon = cluster.daemon()
    cluster.server.process.send(signal.SIGSTOP)
    started(lambda: daemon.get("/readyz")[0] == 503, what="unreadiness")
    daemon.process.send(signal.SIGTERM)
    try:
        assert daemon.process.wait(within_seconds=5) == 0
    finally:
        cluster.server.process.send(signal.SIGCONT)
    assert daemon.events("daemon.stopped")


@pytest.mark.slow
def test_a_daemon_that_was_killed_starts_as_if_it_had_just_acted(cluster):
    cluster.worker()
    first = cluster.daemon()
    cluster.send(40, 0.3)
    started(lambda: size(first) == 6, what="growth")
    first.process.kill()
    second = cluster.daemon(scale_down_cooldown="3600", scale_up_cooldown="3600")
    started(lambda: second.reason(W1) == "cooldown", what="the wait after the start")
    started(lambda: len(cluster.ended()) == 40, what="all tasks")
    assert second.events("pool.resized") == []
    assert size(second) == 6


@pytest.mark.slow
def test_a_gevent_worker_grows_and_shrinks(cluster):
    cluster.worker(W1, "--pool", "gevent", processes=2)
    daemon = cluster.daemon()
    cluster.send(30, 0.3)
    started(lambda: size(daemon) == 6, what="growth")
    started(lambda: size(daemon) == 1, what="the shrink")
    started(lambda: len(cluster.ended()) == 30, what="all tasks")
    assert cluster.lost_and_twice(30) == (0, 0)
