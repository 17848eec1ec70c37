"""What real workers report of where their messages are and how they are written."""

from __future__ import annotations

import json
from types import SimpleNamespace

import celery
import pytest
from celery import Celery

from autoscaler.worker.layout import read_layout
from tests.support.worker_bench import COMPANION, LAYOUT, MakeBench


@pytest.mark.slow
def test_the_layout_of_a_worker_with_default_settings(make_bench: MakeBench) -> None:
    assert make_bench().report()["layout"] == LAYOUT


@pytest.mark.slow
def test_the_layout_of_a_worker_with_settings_of_its_own(make_bench: MakeBench) -> None:
    options = {
        "sep": "|",
        "priority_steps": [0, 1, 2],
        "global_keyprefix": "shop:",
        "unacked_key": "shop-unacked",
        "visibility_timeout": 60,
    }
    conf = {
        "broker_transport_options": options,
        "control_exchange": "shop",
        "worker_eta_task_limit": 10,
        "worker_disable_prefetch": True,
        "accept_content": ["json", "yaml"],
        "worker_direct": True,
    }
    bench = make_bench(environment={"CHURN_CONF": json.dumps(conf)})
    assert bench.report()["layout"] == LAYOUT | {
        "separator": "|",
        "priority_steps": [0, 1, 2],
        "global_keyprefix": "shop:",
        "unacked_key": "shop-unacked",
        "visibility_timeout_seconds": 60.0,
        "control_exchange": "shop",
        "eta_task_limit": 10,
        "prefetch_disabled": True,
        "accept": ["json", "yaml"],
        "private_queues": ["churn@bench.dq2"],
    }


@pytest.mark.slow
def test_queues_of_a_fanout_exchange_are_private(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.ask("add_consumer", queue="news", exchange="news", exchange_type="fanout")
    report = bench.report()
    assert (report["queues"], report["layout"]["private_queues"]) == (["celery", "news"], ["news"])


@pytest.mark.slow
@pytest.mark.skipif(celery.VERSION[:2] < (5, 7), reason="worker_pool_start_method came with Celery 5.7")
def test_the_start_method_is_reported(make_bench: MakeBench) -> None:
    bench = make_bench(processes=1, environment={"CHURN_START_METHOD": "spawn"})
    assert bench.report()["layout"]["start_method"] == "spawn"


@pytest.mark.slow
def test_pools_without_processes_have_no_start_method(make_bench: MakeBench) -> None:
    bench = make_bench(options=(*COMPANION, "-P", "threads"))
    assert bench.report()["layout"]["start_method"] is None


def test_what_a_foreign_transport_lacks_or_has_otherwise_is_unknown() -> None:
    app = Celery("foreign", broker="memory://", set_as_current=False)
    app.conf.update(worker_eta_task_limit="ten", accept_content={"json"})
    channel = SimpleNamespace(sep=b"x", priority_steps=["0"], visibility_timeout=float("inf"))
    queues = [SimpleNamespace(name="q", exchange=None)]
    consumer = SimpleNamespace(
        app=app,
        hostname="w@h",
        pool=object(),
        task_consumer=SimpleNamespace(channel=channel, queues=queues),
    )
    assert read_layout(consumer) == LAYOUT | {
        "separator": None,
        "priority_steps": None,
        "global_keyprefix": None,
        "unacked_key": None,
        "visibility_timeout_seconds": None,
        "start_method": None,
    }
