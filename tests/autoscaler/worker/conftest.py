"""Real workers with the companion: shared ones, and any that a test needs of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.churn.bench import Bench, Setup
from tests.churn.scenarios import Acks, Scenario
from tests.support.cgroup_trees import write_tree
from tests.support.worker_bench import COMPANION, SIZE, MakeBench, rested

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cgroup_trees import Plant


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Benches of their own for tests that need other settings."""
    benches: list[Bench] = []

    def make(scenario: Scenario | None = None, **setup: Any) -> Bench:
        chosen = Setup(**{"processes": SIZE, "options": COMPANION, **setup})
        benches.append(Bench(tmp_path / str(len(benches)), scenario or Scenario(prefetch=1), chosen))
        return benches[-1].__enter__()

    yield make
    for bench in benches:
        bench.__exit__()


def _shared_bench(tmp_path_factory: pytest.TempPathFactory, acks: Acks) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp(acks)
    setup = Setup(processes=SIZE, options=COMPANION)
    with Bench(folder, Scenario(acks=acks, prefetch=1), setup) as bench:
        yield bench


@pytest.fixture(scope="module")
def early_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from _shared_bench(tmp_path_factory, Acks.EARLY)


@pytest.fixture(scope="module")
def reject_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from _shared_bench(tmp_path_factory, Acks.REJECT)


@pytest.fixture
def bench(early_bench: Bench) -> Bench:
    """Three idle processes, acks early, prefetch 1 for each process."""
    return rested(early_bench)


@pytest.fixture
def rejecting(reject_bench: Bench) -> Bench:
    """The same with acks late, returned to the queue where the process is lost."""
    return rested(reject_bench)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return lambda files: write_tree(tmp_path, files)
