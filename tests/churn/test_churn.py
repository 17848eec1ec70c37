"""The churn harness as its users run it, in slices that a test run has time for."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.demo.embedded import Process
from tests.churn.bench import ROOT
from tests.churn.kills import Kills
from tests.support.memory_group import can_be_made
from tests.support.other_celery import SUPPORTED, python_with, python_with_celery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster import Cluster


def _churn(tmp_path: Path, *options: str) -> dict[str, Any]:
    """The totals of the churn harness, run as its users run it."""
    result = tmp_path / "churn.json"
    with Process(
        (sys.executable, "-m", "tests.churn", "--json", result, *options),
        log_path=tmp_path / "churn.log",
        working_folder=ROOT,
    ) as harness:
        harness.wait(within_seconds=900)
        log = harness.log()
    assert result.exists(), log
    totals: dict[str, Any] = json.loads(result.read_text())["totals"]["companion"]
    assert all(totals[fault] == 0 for fault in ("lost", "twice", "inexact", "failed")), log
    return totals


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_churn_loses_and_repeats_nothing(tmp_path: Path) -> None:
    totals = _churn(tmp_path, "--slice", "--resizes", "72", "--compare", "0", "--growth", "0")
    assert totals["resizes"] + totals["refused"] == 72


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.host
@pytest.mark.skipif(not can_be_made(), reason="makes real v1 groups: needs root and writable ones")
def test_churn_where_memory_is_short_meets_no_kill(tmp_path: Path) -> None:
    # Late acknowledgement, countdowns and retries: one of the five.
    options = ("--memory", "--only", "retries", "--resizes", "100", "--compare", "0", "--growth", "0")
    totals = _churn(tmp_path, *options)
    assert (totals["resizes"] + totals["refused"], totals["oom_kills"]) == (20, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_churn_loses_and_repeats_nothing_on_the_oldest_celery(tmp_path: Path) -> None:
    # As it was when that came out.
    python = python_with(tmp_path, "celery[redis]==5.3.6", "kombu==5.3.4", "billiard==4.2.0")
    # Two of the eight, without trouble and with children killed: they take half a minute each to come and go.
    options = ("--slice", "--only", "acks reject", "--resizes", "48", "--compare", "0", "--growth", "0")
    totals = _churn(tmp_path, *options, "--python", os.fspath(python))
    assert totals["resizes"] + totals["refused"] == 12


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", SUPPORTED)
def test_churn_loses_and_repeats_nothing_on_each_supported_celery(tmp_path: Path, version: str) -> None:
    python = python_with_celery(tmp_path, version)
    # Countdowns and retries, children of one task or of little memory, and no prefetch: six resizes each.
    options = ("--versions", "--resizes", "24", "--compare", "0", "--growth", "0")
    totals = _churn(tmp_path, *options, "--python", os.fspath(python))
    assert totals["resizes"] + totals["refused"] == 24
    assert json.loads((tmp_path / "churn.json").read_text())["versions"]["celery"].startswith(version)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_daemon_killed_between_a_batch_and_its_outcomes_leaves_a_fleet_that_converges(
    cluster: Cluster,
) -> None:
    found = Kills(cluster, seed=2).run(1)
    assert found == {
        "kills": 1, "gathered": 0, "tasks": found["tasks"], "lost": 0, "twice": 0, "exact": True,
    }  # fmt: skip
