"""A real worker whose mailbox is lost from the broker's set of workers."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import redis

from autoscaler.worker.mailbox import restore_mailbox
from tests.support.worker_bench import COMPANION, MakeBench, await_true

MEMBER = "\x06\x16\x06\x16churn@bench.celery.pidbox"
KEY = "_kombu.binding.celery.pidbox"


@pytest.mark.slow
def test_a_lost_mailbox_is_bound_again_by_itself(make_bench: MakeBench) -> None:
    bench = make_bench()
    line = "the mailbox churn@bench.celery.pidbox was missing in the broker and is bound again"

    def said() -> bool:
        # While the worker connects, kombu writes the member too: it is taken away until the line is there.
        if line in bench.worker.log():
            return True
        bench.broker.srem(KEY, MEMBER)
        return False

    await_true(said, "the worker's line about it")
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the worker's mailbox")


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "gevent", "threads"])
def test_after_a_flush_every_pool_binds_its_mailbox_again(make_bench: MakeBench, pool: str) -> None:
    bench = make_bench(options=(*COMPANION, "-P", pool))
    before = bench.broker.smembers(KEY)
    assert bench.ask("churn_restore_mailbox") == 0
    bench.broker.flushall()
    assert bench.ask("churn_restore_mailbox") == 1
    assert bench.broker.smembers(KEY) == before == {MEMBER}
    assert bench.ask("churn_restore_mailbox") == 0


@pytest.mark.slow
def test_separator_and_prefix_are_the_workers_own(make_bench: MakeBench) -> None:
    options = {"sep": "|", "global_keyprefix": "shop:"}
    conf = json.dumps({"broker_transport_options": options, "control_exchange": "shop"})
    bench = make_bench(environment={"CHURN_CONF": conf})
    member = "||churn@bench.shop.pidbox"
    assert bench.broker.smembers("shop:_kombu.binding.shop.pidbox") == {member}
    bench.broker.delete("shop:_kombu.binding.shop.pidbox")
    assert bench.ask("churn_restore_mailbox") == 1
    assert bench.broker.smembers("shop:_kombu.binding.shop.pidbox") == {member}


@pytest.mark.slow
def test_the_timer_is_there_again_after_a_lost_connection(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.cut_connections()
    await_true(lambda: bench.ask("ping", within_seconds=1.5), "the worker's return")
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the mailbox of the new connection")
    bench.broker.delete(KEY)
    await_true(lambda: bench.broker.sismember(KEY, MEMBER), "the worker's mailbox")


def test_a_broker_that_does_not_answer_delays_the_worker_only_briefly() -> None:
    queue = SimpleNamespace(name="q", exchange=SimpleNamespace(name="x"), routing_key="")
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as undo:
        pool = redis.ConnectionPool(port=silent.getsockname()[1])
        undo.callback(pool.disconnect)
        channel = SimpleNamespace(
            _queue_bind=print, _fanout_queues={"q": ("x", "")}, keyprefix_queue="b.%s", sep="|", pool=pool
        )
        box = SimpleNamespace(consumer=SimpleNamespace(queues=[queue]), node=SimpleNamespace(channel=channel))
        began = time.monotonic()
        assert restore_mailbox(SimpleNamespace(steps=[SimpleNamespace(box=box)])) == 0
    assert time.monotonic() - began < 10


def test_a_transport_of_another_kind_is_left_alone() -> None:
    box = SimpleNamespace(consumer=SimpleNamespace(queues=[1]), node=SimpleNamespace(channel=object()))
    assert restore_mailbox(SimpleNamespace(steps=[object(), SimpleNamespace(box=box)])) == 0
    assert restore_mailbox(SimpleNamespace(steps=[])) == 0
    assert restore_mailbox(object()) == 0
