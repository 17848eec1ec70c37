"""What the daemon says when it starts."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_the_start_line_says_the_policy_and_what_is_ignored(cluster):
    daemon = cluster.daemon("--max-step-up", "3", "--dry-run", target_wait="5s", interval="1")
    (line,) = daemon.events("daemon.started")
    said = ("demand", "target_wait_seconds", "min", "min_from", "max", "max_from", "interval_seconds")
    assert [line[key] for key in said] == ["target_wait", 5.0, 1, "default", 6, "--max", 1.0]
    ignored = {"--scale-up-cooldown", "--scale-down-delay", "--stabilization-window", "--max-step-up"}
    assert set(line["ignored"]) == ignored
    (warning,) = daemon.events("settings.ignored")
    assert warning["why"] == (
        "the target wait decides; these are used by the thresholds only (--target-wait off)"
    )
