"""The example of the documents, run as it stands: two queues, two workers, one daemon."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from autoscaler.demo.embedded import Process
from tests.docs.markdown import TOP
from tests.support.cluster import started

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

EXAMPLE = TOP / "docs/examples/two_queues.py"
SHOWN = EXAMPLE.read_text().partition("\n")[2]


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_it_is_shown_as_it_is_run(page: str):
    text = (TOP / page).read_text()
    assert f"<!-- example: begin -->\n\n```python\n{SHOWN}```\n\n<!-- example: end -->" in text
    assert len([line for line in SHOWN.splitlines() if line]) <= 10


def worker(cluster: Cluster, queue: str) -> None:
    """Start a worker by the line of the documents, on the test's broker."""
    command = (sys.executable, "-m", "celery", "-b", cluster.server.url, "-A", "two_queues", "worker")
    process = cluster.stack.enter_context(
        Process(
            (*command, "-n", f"{queue}@h", "-Q", queue, "-c", "1", "--loglevel", "INFO"),
            log_path=cluster.folder / f"{queue}.log",
            environment={"PYTHONPATH": str(EXAMPLE.parent), "TMPDIR": str(cluster.folder)},
            working_folder=TOP,
            stop_signal=signal.SIGKILL,
        )
    )
    process.wait_until(lambda: "ready." in process.log(), within_seconds=60, what=f"the worker of {queue}")


@pytest.mark.slow
def test_its_workers_are_sized_by_the_target_of_their_queue_and_every_task_runs(cluster: Cluster):
    worker(cluster, "mails")
    worker(cluster, "reports")
    daemon = cluster.daemon("--target-wait", "2s", "--target-wait", "reports=600s")

    def sizes() -> dict[str, int]:
        return {one["worker"]: one["processes"] for one in daemon.status()["workers"]}

    started(lambda: sizes() == {"mails@h": 1, "reports@h": 1}, what="both workers at one process")
    assert {one["worker"]: one["companion"] for one in daemon.status()["workers"]} == {
        "mails@h": True,
        "reports@h": True,
    }
    sender = Celery("sender", broker=cluster.server.url, set_as_current=False)
    for _ in range(60):
        sender.send_task("mail", queue="mails", ignore_result=True)
    for _ in range(3):
        sender.send_task("report", args=[0.5], queue="reports", ignore_result=True)
    sender.close()
    largest = {"mails@h": 1, "reports@h": 1}

    def grown_and_done() -> bool:
        for name, size in sizes().items():
            largest[name] = max(largest[name], size)
        done = {one["worker"]: one["completed"] for one in daemon.status()["workers"]}
        return largest["mails@h"] > 1 and done == {"mails@h": 60, "reports@h": 3}

    started(grown_and_done, within_seconds=60, what="the mails' pool to grow and every task to run")
    assert largest["reports@h"] == 1, "three short reports fit into ten minutes one after another"
