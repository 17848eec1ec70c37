"""Workers that listen elsewhere than Celery's own place, real ones, are found and can be commanded."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial

import pytest

from autoscaler.cli.compose import compose
from autoscaler.control.addresses import Address
from autoscaler.demo.embedded import RedisServer
from autoscaler.settings.load import load
from tests.support.cluster import Cluster, command, started

OWN_PREFIX = {"fanout_prefix": "/shop-{db}."}
#: Where each worker listens, by its name.
SETTINGS = {
    "exchange@h": {"control_exchange": "app1"},
    "bare@h": {"broker_transport_options": {"fanout_prefix": False}},
    "both@h": {"control_exchange": "app2", "broker_transport_options": {"fanout_prefix": False}},
    "own@h": {"broker_transport_options": OWN_PREFIX},
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Four workers, each of which listens elsewhere, and none where all others do."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with RedisServer(folder / "redis") as server, ExitStack() as stack:
        one = Cluster(folder=folder, stack=stack, server=server)
        workers = [
            one.worker(name, SETTINGS=json.dumps(settings), wait=False) for name, settings in SETTINGS.items()
        ]
        for worker in workers:
            worker.wait_until(partial(is_ready, worker), within_seconds=60, what="its start")
        yield one


def is_ready(worker):
    return "ready." in worker.log()


def look(cluster, **flags):
    """The workers that one look finds, where commands go then, and what else it saw of them."""
    app = compose(load({"redis_url": cluster.server.url, **flags}, {}), single_look=True)
    record = app.controller.look()
    return [one.name for one in record.observation.workers], app, record


@pytest.mark.slow
def test_workers_are_found_at_another_exchange_and_without_a_prefix(elsewhere):
    names, app, record = look(elsewhere)
    assert names == ["bare@h", "both@h", "exchange@h"]
    assert app.addresses.current == (
        Address(exchange="app1"),
        Address(exchange="app2", prefix=""),
        Address(prefix=""),
    )
    assert (record.unregistered, record.duplicates) == ((), ())
    found = app.remote.call("pool_resize", {"size": 2}, ["exchange@h", "both@h"])
    assert found == {
        name: [{"ok": {"size": 2, "was": 1, "retiring": 0}}] for name in ("exchange@h", "both@h")
    }
    again = app.controller.look()
    assert [one.name for one in again.observation.workers] == names
    assert (again.unregistered, again.unresponsive) == ((), ("own@h",))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param({"control_exchange": ("app1",)}, ["exchange@h"], id="one exchange"),
        pytest.param({"control_exchange": ("app1", "app2")}, ["both@h", "exchange@h"], id="two exchanges"),
        pytest.param({"fanout_prefix": "none"}, ["bare@h"], id="no prefix"),
        pytest.param({"fanout_prefix": "/shop-{db}."}, ["own@h"], id="a prefix of their own"),
    ],
)
def test_what_is_given_is_where_workers_are_looked_for(elsewhere, flags, expected):
    assert look(elsewhere, **flags)[0] == expected


@pytest.mark.slow
def test_a_fleet_at_another_exchange_is_grown(cluster):
    """A daemon resizes it, and a drain empties it."""
    cluster.worker("a@h", SETTINGS=json.dumps({"control_exchange": "app1"}))
    daemon = cluster.daemon(max="3")
    cluster.hold(6)
    started(lambda: daemon.events("pool.resized"), what="a resize")
    (line,) = daemon.events("workers.located")
    assert line["where"] == ["control_exchange='app1'"]
    assert [one for one in daemon.events("condition") if one["subject"] in ("no_worker", "mailbox")] == []
    cluster.release()
    assert command("drain", "a@h", "--force", REDIS_URL=cluster.server.url)[0] == 0


@pytest.mark.slow
def test_what_the_user_has_no_right_to_is_tried_once(cluster):
    cluster.redis.execute_command(
        *("ACL", "SETUSER", "narrow", "reset", "on", ">narrow", "~*", "+@all", "-scan", "&/0.celery.pidbox")
    )
    url = cluster.server.url.replace("//", "//narrow:narrow@")
    app = compose(load({"redis_url": url}, {}), single_look=True)
    assert app.locator.roll_call(["gone@h"]) == {}
    refused = {(entry["reason"], entry["object"]) for entry in cluster.redis.acl_log()}
    assert refused == {("command", "scan"), ("channel", "celery.pidbox")}
    cluster.redis.acl_log_reset()
    assert app.locator.roll_call(["gone@h"]) == {}
    assert cluster.redis.acl_log() == []
