"""A real worker whose mailbox is lost from the broker's set of workers."""

from __future__ import annotations

import json

import pytest

from tests.support.worker_bench import COMPANION, MakeBench, await_true

MEMBER = "\x06\x16\x06\x16churn@bench.celery.pidbox"
KEY = "_kombu.binding.celery.pidbox"


def test_a_lost_mailbox_is_bound_again_by_itself(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.broker.srem(KEY, MEMBER) == 1
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the worker's mailbox")
    line = "the mailbox churn@bench.celery.pidbox was missing in the broker and is bound again"
    assert line in bench.worker.log()


@pytest.mark.parametrize("pool", ["prefork", "gevent", "threads"])
def test_after_a_flush_every_pool_binds_its_mailbox_again(make_bench: MakeBench, pool: str) -> None:
    bench = make_bench(options=(*COMPANION, "-P", pool))
    before = bench.broker.smembers(KEY)
    assert bench.ask("churn_restore_mailbox") == 0
    bench.broker.flushall()
    assert bench.ask("churn_restore_mailbox") == 1
    assert bench.broker.smembers(KEY) == before == {MEMBER}
    assert bench.ask("churn_restore_mailbox") == 0


def test_separator_and_prefix_are_the_workers_own(make_bench: MakeBench) -> None:
    options = {"sep": "|", "global_keyprefix": "shop:"}
    conf = json.dumps({"broker_transport_options": options, "control_exchange": "shop"})
    bench = make_bench(environment={"CHURN_CONF": conf})
    member = "||churn@bench.shop.pidbox"
    assert bench.broker.smembers("shop:_kombu.binding.shop.pidbox") == {member}
    bench.broker.delete("shop:_kombu.binding.shop.pidbox")
    assert bench.ask("churn_restore_mailbox") == 1
    assert bench.broker.smembers("shop:_kombu.binding.shop.pidbox") == {member}


def test_the_timer_is_there_again_after_a_lost_connection(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.cut_connections()
    await_true(lambda: bench.ask("ping", within_seconds=1.5), "the worker's return")
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the mailbox of the new connection")
    bench.broker.delete(KEY)
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the worker's mailbox")
