"""The private parts of billiard and Celery that a resize needs: what is missing is named."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from autoscaler.worker import prefork_parts
from tests.support.worker_bench import SIZE, MakeBench


@pytest.mark.slow
def test_changed_private_attribute_is_refused_with_the_versions(make_bench: MakeBench) -> None:
    bench = make_bench(environment={"CHURN_CHANGED_SHAPE": "1"})
    refusal = bench.report()["refusal"]
    assert re.sub(r"\d+(\.\d+)+\w*", "N", refusal) == (
        "Celery N, billiard N, kombu N lacks what a resize without loss needs"
        " (consumer.pool._pool._active_writes);"
        " use versions that have it, or the stock pool_grow and pool_shrink"
    )
    assert bench.ask("pool_resize", size=1) == {"error": refusal}
    assert bench.ask("pool_grow", n=1) == {"ok": "pool will grow"}
    assert bench.report()["size"] == SIZE + 1


def test_every_missing_part_is_named() -> None:
    consumer = SimpleNamespace(hub=SimpleNamespace(on_tick=set(), call_soon=print, call_later=print))
    missing = prefork_parts.missing_parts(consumer)
    assert missing[:3] == (
        "consumer.hub.remove_writer",
        "consumer.prefetch_multiplier",
        "consumer.initial_prefetch_count",
    )
    assert "consumer.pool._pool._putlock._waiting" in missing
