"""Upgrade and rollback: the daemon and the companion of the release before, beside those of the tree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from tests.autoscaler.daemon.test_daemon import W1, size
from tests.support.cluster import Cluster, Daemon, command, started
from tests.support.previous import ROOT, unpack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WITHIN = 60


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    return unpack(tmp_path / "previous")


def report(cluster: Cluster) -> dict[str, Any]:
    """What the companion says of the worker."""
    app = Celery("asks", broker=cluster.server.url, set_as_current=False)
    ((_, said),) = app.control.broadcast("pool_report", reply=True, limit=1, timeout=20)[0].items()
    app.close()
    return said


def grows_and_shrinks(cluster: Cluster, daemon: Daemon) -> tuple[int, int]:
    """Tasks lost and tasks run twice, over one growth and one shrink."""
    before = len(cluster.ended())
    sent = 24
    cluster.send(sent, 1.0)
    started(lambda: (size(daemon) or 0) >= 4, within_seconds=WITHIN, what="a growth")
    started(lambda: len(cluster.ended()) == before + sent, within_seconds=WITHIN, what="all tasks")
    started(lambda: size(daemon) == 1, within_seconds=WITHIN, what="a shrink")
    return cluster.lost_and_twice(before + sent)


@pytest.mark.parametrize("older", ["companion", "daemon"])
def test_a_companion_and_a_daemon_of_two_releases_resize_and_lose_nothing(
    cluster: Cluster, previous: Path, older: str
) -> None:
    trees = {"companion": ROOT, "daemon": ROOT, older: previous}
    cluster.worker(tree=trees["companion"])
    daemon = cluster.daemon(tree=trees["daemon"], max="4")
    assert grows_and_shrinks(cluster, daemon) == (0, 0)
    # Each was what it was said to be: these fields came later.
    is_new = ("late_running_seconds" in report(cluster), "waits" in daemon.status())
    assert is_new == (older != "companion", older != "daemon")
    assert {one["outcome"] for one in daemon.status().get("outcomes", ())} <= {"resized"}


def test_a_daemon_goes_on_with_the_keys_of_another_release_in_both_directions(
    cluster: Cluster, previous: Path
) -> None:
    address = {"REDIS_URL": cluster.server.url}
    cluster.worker()
    old = cluster.daemon(tree=previous, max="4")
    cluster.send(40, 0.5)
    started(lambda: (size(old) or 0) == 4, within_seconds=WITHIN, what="a growth by the older daemon")
    # The tree's commands read what the older daemon has written, and it follows what they write.
    code, out, _ = command("status", "--json", **address)
    assert (code, json.loads(out)["decisions"][0]["worker"]) == (0, W1)
    assert command("events", **address)[0] == 0
    assert command("limits", "--max", "2", "--for", "1h", "--why", "upgrade", **address)[0] == 0
    started(lambda: (size(old) or 4) <= 2, within_seconds=WITHIN, what="the limit in the older daemon")
    # Upgrade: one of them acts, and what was asked for stays.
    new = cluster.daemon(max="4")
    started(lambda: new.status()["leader"] is False, within_seconds=WITHIN, what="the newer daemon's waiting")
    assert old.process.stop() == 0
    cluster.send(40, 0.5)
    started(lambda: new.status()["leader"], within_seconds=WITHIN, what="the newer daemon's turn")
    assert new.status()["override"]["max"] == 2
    started(lambda: (size(new) or 4) <= 2, within_seconds=WITHIN, what="the limit in the newer daemon")
    assert command("pause", "--why", "rollback", **address)[0] == 0
    # Rollback.
    again = cluster.daemon(tree=previous, max="4")
    assert new.process.stop() == 0
    started(lambda: again.status()["leader"], within_seconds=WITHIN, what="the older daemon's turn")
    started(lambda: again.reason(W1) == "paused", within_seconds=WITHIN, what="the pause in the older daemon")
    assert again.status()["override"]["why"] == "rollback"
