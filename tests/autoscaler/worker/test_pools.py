"""Kinds of pools, and those that cannot be resized."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from autoscaler.worker.pools import sizes
from tests.support.worker_bench import COMPANION, MakeBench, await_insides, resize


class GreenPool:
    """As gevent's of Celery 5.3 to 5.6, which counts the tasks that run now."""

    __module__ = "celery.concurrency.gevent"
    limit, num_processes = 20, 0


def test_the_size_of_a_green_pool_is_what_may_run_in_any_celery() -> None:
    consumer = SimpleNamespace(pool=GreenPool())
    assert sizes(consumer, "it loses count", busy=0) == {
        "size": 20,
        "ready": 20,
        "retiring": 0,
        "start_seconds": None,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "pool", "refusal"),
    [
        pytest.param(
            ("--autoscale", "3,1"),
            "prefork",
            "this worker runs with --autoscale, which resizes it already; start it without",
            id="autoscale",
        ),
        pytest.param(
            ("-P", "solo"),
            "solo",
            "a pool of the kind 'solo' has a fixed size; use --pool prefork, gevent, eventlet or threads",
            id="solo",
        ),
    ],
)
def test_pools_of_fixed_size_are_refused_with_the_reason(
    make_bench: MakeBench, options: tuple[str, ...], pool: str, refusal: str
) -> None:
    bench = make_bench(options=(*COMPANION, *options))
    report = bench.report()
    assert (report["pool"], report["refusal"]) == (pool, refusal)
    assert bench.ask("pool_resize", size=2) == {"error": refusal}


@pytest.mark.slow
def test_size_beyond_the_open_files_is_refused(make_bench: MakeBench) -> None:
    bench = make_bench(environment={"CHURN_OPEN_FILES": "124"})
    assert bench.ask("pool_resize", size=11) == {
        "error": "pool_resize: size is 11; with 124 open files this worker can have 10 processes,"
        " raise its limit (ulimit -n)"
    }
    resize(bench, 10)
    await_insides(bench, 10)


@pytest.mark.slow
def test_the_log_says_once_why_a_pool_cannot_be_resized(make_bench: MakeBench) -> None:
    bench = make_bench(options=(*COMPANION, "-P", "solo", "-l", "INFO"))
    refusal = bench.report()["refusal"]
    assert bench.worker.log().count(f"companion loaded: the solo pool cannot be resized: {refusal}") == 1
