"""Green pools in real workers."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.support.worker_bench import (
    COMPANION,
    LEGAL,
    MakeBench,
    await_true,
    resize,
)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_green_pools_resize_with_a_floor(make_bench: MakeBench, pool: str) -> None:
    if find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed; uv run --with {pool} pytest")
    bench = make_bench(options=(*COMPANION, "-P", pool))
    for number in range(60):
        bench.app.send_task("churn.work", (number, 0.05))
    for size in (1, 8, 2, 5, 1, 4):
        assert resize(bench, size)["size"] == size
    await_true(lambda: bench.ledger.hlen("ends") == 60, "the end of all tasks")
    assert set(bench.ledger.hvals("starts")) == {"1"}
    assert bench.ask("pool_resize", size=0) == {"error": f"pool_resize: size is 0; {LEGAL}"}
    report = bench.report()
    kept = ("pool", "refusal", "size", "ready", "retiring", "prefetch")
    assert {key: report[key] for key in kept} == {
        "pool": pool,
        "refusal": None,
        "size": 4,
        "ready": 4,
        "retiring": 0,
        "prefetch": 4,
    }
