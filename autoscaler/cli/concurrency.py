"""``autoscaler concurrency``: the size to start a worker with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from autoscaler.cli.options import fail, with_settings
from autoscaler.core import capacity
from autoscaler.core.model import ContainerReading
from autoscaler.settings import table
from autoscaler.worker.cgroup import read_cgroup

if TYPE_CHECKING:
    from autoscaler.settings.load import Settings


@click.command("concurrency")
@with_settings(table.pick(table.PARAMETERS, "min", "max", "processes_per_core"), hidden=table.PARAMETERS)
def command(settings: Settings) -> None:
    """Print how many processes fit here. As in: celery worker -c "$(autoscaler concurrency)"."""
    policy = settings.policy
    found = read_cgroup()
    container = ContainerReading(cpu_limit_cores=found.cpu_limit_cores, cpu_limited=found.cpu_limited)
    limit = capacity.automatic_max(policy, container)
    if limit is None:
        fail(["the CPU limit cannot be read here: " + "; ".join(found.faults), "give a fixed -c instead"], 1)
    upper = min(limit.processes, policy.max_processes or math.inf)
    if upper < policy.min_processes:
        upper = min(max(policy.min_processes, 1), limit.processes)
    click.echo(int(upper))
