"""What tests of the companion do with a real worker, and what they expect of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoscaler.demo.embedded import wait_until
from tests.churn.bench import Bench

SIZE = 3
COMPANION = ("-I", "autoscaler.companion")
#: What the layout is with default settings.
LAYOUT = {
    "separator": "\x06\x16",
    "priority_steps": [0, 3, 6, 9],
    "global_keyprefix": "",
    "unacked_key": "unacked",
    "visibility_timeout_seconds": 3600.0,
    "control_exchange": "celery",
    "eta_task_limit": None,
    "prefetch_disabled": False,
    "serializer": "json",
    "accept": ["json"],
    "private_queues": [],
    "start_method": "fork",
}
LEGAL = "it is a whole number from 1 to 10000"

MakeBench = Callable[..., Bench]


def resize(bench: Bench, size: int) -> dict[str, int]:
    answer = bench.ask("pool_resize", size=size)
    assert "ok" in answer, answer
    resized: dict[str, int] = answer["ok"]
    return resized


def settled(size: int, *, prefetch: int = 1) -> dict[str, Any]:
    """What a worker's insides are when ``size`` processes are idle and nothing is pending."""
    return {
        "processes": size,
        "children": size,
        "inqueues": size,
        "busy": 0,
        "unwritten": 0,
        "retiring": [],
        "free_slots": [size, size, 0],
        "initial_prefetch": size * prefetch,
        "prefetch": size * prefetch,
    }


def await_insides(bench: Bench, size: int, *, prefetch: int = 1) -> None:
    """Wait until size, children, semaphore and prefetch all agree on ``size``."""
    wanted = settled(size, prefetch=prefetch)
    seen: dict[str, Any] = {}

    def agree() -> bool:
        insides = bench.ask("churn_insides")
        seen.update(insides, children=len(insides["children"]), prefetch=bench.report()["prefetch"])
        return seen == wanted

    try:
        wait_until(agree, within_seconds=40, what="agreement")
    except TimeoutError:
        assert seen == wanted


def await_ready(bench: Bench, size: int) -> None:
    await_true(lambda: bench.report()["ready"] == size, f"the readiness of {size} processes")


def children(bench: Bench) -> list[int]:
    pids: list[int] = bench.ask("churn_insides")["children"]
    return pids


def retiring(bench: Bench) -> list[int]:
    pids: list[int] = bench.ask("churn_insides")["retiring"]
    return pids


def hold(bench: Bench, *keys: str) -> dict[int, str]:
    """Occupy a process with each key until it is let go; the key by the process id."""
    for key in keys:
        bench.app.send_task("churn.hold", (key,))
    await_true(
        lambda: all(bench.ledger.llen(f"{key}:held") for key in keys), "the start of the holding tasks"
    )
    return {int(bench.ledger.lindex(f"{key}:held", -1)): key for key in keys}


def let_go(bench: Bench, *keys: str) -> None:
    for key in keys:
        bench.ledger.rpush(key, "go")
    await_true(lambda: all(bench.ledger.llen(f"{key}:ended") for key in keys), "the end of the holding tasks")


def runs(bench: Bench, *keys: str) -> dict[str, tuple[int, int]]:
    """How often each holding task was started and ended."""
    return {key: (bench.ledger.llen(f"{key}:held"), bench.ledger.llen(f"{key}:ended")) for key in keys}


def await_true(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, within_seconds=40, what=what)


def rested(bench: Bench) -> Bench:
    bench.ledger.flushall()
    resize(bench, SIZE)
    await_insides(bench, SIZE)
    await_ready(bench, SIZE)
    return bench
