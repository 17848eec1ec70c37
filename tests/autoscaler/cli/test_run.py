"""What the daemon says when it starts."""

from __future__ import annotations

import gc

import pytest

from autoscaler.cli.run import collect_after_ticks, open_to
from tests.support.cluster import command, started

W1 = "w1@h"


@pytest.mark.slow
def test_the_start_line_says_the_policy_and_what_is_ignored(cluster):
    daemon = cluster.daemon("--max-step-up", "3", "--dry-run", target_wait="5s", interval="1")
    (line,) = daemon.events("daemon.started")
    said = ("demand", "target_wait_seconds", "min", "min_from", "max", "max_from", "interval_seconds")
    assert [line[key] for key in said] == ["target_wait", 5.0, 1, "default", 6, "--max", 1.0]
    assert line["pages_open_to"] == "this host only"
    ignored = {"--scale-up-cooldown", "--scale-down-delay", "--stabilization-window", "--max-step-up"}
    assert set(line["ignored"]) == ignored
    (warning,) = daemon.events("settings.ignored")
    assert warning["why"] == (
        "the target wait decides; these are used by the thresholds only (--target-wait off)"
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "this host only"),
        ("::1", "this host only"),
        ("[::1]", "this host only"),
        ("localhost", "this host only"),
        ("10.0.0.7", "everyone who can reach 10.0.0.7"),
        ("metrics.internal", "everyone who can reach metrics.internal"),
        *(
            (every, "everyone who can reach this host; --listen 127.0.0.1:9809 keeps them to this host")
            for every in ("0.0.0.0", "::", "[::]")
        ),
    ],
)
def test_the_start_line_says_who_can_read_the_pages(host, expected):
    assert open_to(host) == expected


@pytest.mark.slow
def test_a_dry_run_logs_what_it_leaves_out_and_counts_it(cluster):
    cluster.worker()
    daemon = cluster.daemon("--dry-run")
    cluster.hold(30)
    started(lambda: daemon.events("pool.would_resize"), what="a resize that is left out")
    line = daemon.events("pool.would_resize")[0]
    assert (line["worker"], line["before"], line["target"] > 1) == (W1, 1, True)
    assert line["reason"] not in {"dry_run", "steady"}, "the true reason"
    assert daemon.metric("dry_run_resizes_total", action="grow", reason=line["reason"]) >= 1
    started(lambda: daemon.decision(W1)["desired_reason"] == "at_max", what="the whole of what waits")
    assert daemon.decision(W1)["reason"] == "dry_run"
    _, printed, _ = command("status", REDIS_URL=cluster.server.url)
    assert "dry_run (at_max)" in printed
    daemon.process.stop()
    (stopped,) = daemon.events("daemon.stopped")
    assert stopped["would_have_resized"] == len(daemon.events("pool.would_resize"))


@pytest.mark.parametrize(("workers", "values"), [(0, 10_000), (1, 10_000), (1000, 100_000)])
def test_garbage_is_looked_for_between_the_ticks_over_a_large_fleet(workers, values):
    before = gc.get_threshold()
    try:
        collect_after_ticks(workers)
        assert gc.get_threshold()[0] == values
    finally:
        gc.set_threshold(*before)
