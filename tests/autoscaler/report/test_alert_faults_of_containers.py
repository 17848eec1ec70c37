"""A worker in real control groups (v1) that are too small, and the alerts that a real Prometheus fires."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.autoscaler.daemon.test_memory import W1, group, send, start_worker
from tests.autoscaler.report.test_alert_faults import fires
from tests.autoscaler.report.test_monitoring import prompt_rules, running_prometheus
from tests.support.cluster import started
from tests.support.memory_group import MIB, can_be_made
from tests.support.programs import needs

__all__ = ("group",)  # a fixture

CPU = Path("/sys/fs/cgroup/cpu")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.host,
    pytest.mark.timeout(300),
    needs("prometheus"),
    pytest.mark.skipif(
        not can_be_made() or not os.access(CPU / "cgroup.procs", os.W_OK),
        reason="makes real v1 groups: needs root and a writable /sys/fs/cgroup",
    ),
]


def remove(folder):
    """Remove a control group once what ran in it has ended."""

    def gone():
        try:
            folder.rmdir()
        except OSError:  # busy for a moment after its last process ended
            return False
        return True

    started(gone, what=f"the removal of {folder}")


@pytest.fixture
def cpu_group():
    """A control group of the CPU without a limit."""
    folder = CPU / f"autoscaler-alerts-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def start_beside(cluster, folder, command):
    """Start something else in the same container."""
    process = cluster.stack.enter_context(
        subprocess.Popen(("sh", "-c", f"echo $$ > {folder}/cgroup.procs; {command}"))
    )
    cluster.stack.callback(process.kill)


def test_a_container_that_is_too_small_fires_what_names_its_memory_and_its_cpu(cpu_group, group, cluster):
    start_worker(cluster, group, late=False, processes=2, other_groups=(cpu_group,))
    daemon = cluster.daemon("--dry-run", max="2")  # else it makes the pool as small as the memory
    started(lambda: daemon.metric("cgroup_memory_usage_bytes", worker=W1), what="the worker")
    page, rules = daemon.page.removeprefix("http://"), prompt_rules(cluster.folder)
    with running_prometheus(cluster.folder / "prometheus", page, rules_file=rules) as server:
        started(lambda: server.query("celery_autoscaler_worker_oom_kills_total == 0"), what="a scrape")
        used = daemon.metric("cgroup_memory_usage_bytes", worker=W1) / MIB
        send(cluster, "fill", [(int(0.94 * 300 - used), 600.0)])
        started(
            lambda: daemon.metric("cgroup_memory_usage_bytes", worker=W1) > 0.9 * 300 * MIB, what="a task"
        )
        send(cluster, "nap", [(0.0,)])
        fires(server, "CeleryTasksWaitForMemory")
        (cpu_group / "cpu.cfs_quota_us").write_text("10000")  # so little that it binds on a busy machine
        start_beside(cluster, cpu_group, "while :; do :; done")
        fires(server, "CeleryWorkerMemoryNearLimit", "CeleryWorkerCpuThrottled")
        start_beside(cluster, group.folder, "exec tail /dev/zero")  # it keeps all it reads
        fires(server, "CeleryWorkerOomKills")
