"""What `simulate` and `tune` share: their options, the checked set-up, and progress on standard error."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.options import Parsed, fail, missing_extra, with_settings
from autoscaler.cli.trace_source import SOURCE_OPTIONS, trace_of
from autoscaler.core.decider import Decider
from autoscaler.core.policy import Policy, PolicyError
from autoscaler.report.mask import shown
from autoscaler.settings import table
from autoscaler.settings.parse import parse_span, parse_target, whole
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.plot import PlotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autoscaler.core.demand.target_wait import TargetWaitPolicy
    from autoscaler.settings.load import Settings
    from autoscaler.simulation.engine import ReplayResult
    from autoscaler.simulation.traces import Trace

#: A simulated pool has no container that could limit it.
MAX_WITHOUT_LIMIT = 64
#: A tick takes some 50 us: about two minutes for each policy.
_MAX_TICKS = 2_000_000
_SETTINGS = (
    *table.PARAMETERS,
    *table.pick(table.DEMAND, "start_worth", "release_caution"),
    *table.pick(table.RUN, "interval", "min_interval"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What both commands work on."""

    trace: Trace
    model: PoolModel
    policy: Policy
    parameters: TargetWaitPolicy
    interval_seconds: float
    min_interval_seconds: float
    #: Keys of the settings that were given.
    given: frozenset[str]

    @property
    def target_wait_seconds(self) -> float:
        """The time within which every task must start."""
        return self.parameters.target_wait_seconds

    def replay(self, name: str, parameters: TargetWaitPolicy | None) -> ReplayResult:
        """Run the trace through the daemon's decider: by the target wait, or by thresholds without one."""
        decider = Decider(
            policy=self.policy,
            target_wait=parameters,
            min_interval_seconds=self.min_interval_seconds,
            interval_seconds=self.interval_seconds,
        )
        scaler = DecidedScaler(
            decider,
            name=name,
            start_seconds=self.model.start_seconds,
            interval_seconds=self.interval_seconds,
        )
        return simulate(self.trace, scaler, self.model)


def _parse_one_target(text: str) -> float:
    queue, seconds = parse_target(text)
    if queue:
        raise ValueError("one queue is simulated: give its time alone, as in 5s")
    return seconds


def _target_of_environment() -> str:
    """The target for all queues in a daemon's environment, which may be off, or name single queues."""
    words = os.environ.get(table.TARGET_WAIT.variable, "").split()
    general = [word for word in words if "=" not in word and word.lower() != "off"]
    return general[-1] if general else table.TARGET_WAIT.default


_POOL_OPTIONS = (
    click.option(
        "--target-wait",
        default=_target_of_environment,
        show_default="that of AUTOSCALER_TARGET_WAIT, or 5s",
        type=Parsed(_parse_one_target),
        help="Every task must start within this time.",
    ),
    click.option(
        "--start-delay",
        default="1s",
        show_default=True,
        type=Parsed(parse_span),
        help="Time from a resize to a process that takes tasks.",
    ),
    click.option(
        "--prefetch",
        type=Parsed(whole(0, 10_000, "messages per process")),
        default=4,
        show_default=True,
        help="Celery's worker_prefetch_multiplier.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table."),
)


def with_trace(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of both, and their values as ``settings`` and by name."""
    command = with_settings(_SETTINGS)(command)
    for option in reversed((*SOURCE_OPTIONS, *_POOL_OPTIONS)):
        command = option(command)
    return command


def set_up(settings: Settings, given: dict[str, Any]) -> Setup:
    """What was given, checked before anything long begins; ends the command with every fault."""
    policy = settings.policy
    try:
        if policy.max_processes is None:
            policy = replace(policy, max_processes=MAX_WITHOUT_LIMIT)
    except PolicyError as fault:
        fail(fault.faults, 2)
    model = PoolModel(
        min_processes=policy.min_processes,
        max_processes=policy.max_processes or MAX_WITHOUT_LIMIT,
        start_seconds=given["start_delay"],
        prefetch=given["prefetch"],
    )
    trace, interval = trace_of(given), settings.interval_seconds
    if too_long := _too_long(trace, model.max_processes, interval):
        fail([f"{trace.name}: {too_long}"], 2)
    return Setup(
        trace=trace,
        model=model,
        policy=policy,
        parameters=replace(settings.target_wait, target_wait_seconds=given["target_wait"]),
        interval_seconds=interval,
        min_interval_seconds=settings.min_interval_seconds,
        given=frozenset(settings.sources),
    )


def _too_long(trace: Trace, max_processes: int, interval_seconds: float) -> str | None:
    """Why a replay would take hours, and what to do; None where it does not. It ends with the last task."""
    ends = [*map(add, trace.arrivals_seconds, trace.services_seconds)]
    last, work = max(ends), math.fsum(trace.services_seconds) / max_processes
    allowed = _MAX_TICKS * interval_seconds
    limit = f"more than {_MAX_TICKS} ticks of --interval {interval_seconds:g}"
    if trace.duration_seconds > allowed:
        return f"it lasts {trace.duration_seconds:.0f} s, {limit}; cut the trace, or raise --interval"
    if last > allowed:
        task = ends.index(last) + 1
        service = trace.services_seconds[task - 1]
        advice = "correct its service time, or raise --interval"
        return f"task {task} runs for {service:g} s and ends at {last:.0f} s, {limit}; {advice}"
    if work > allowed:
        advice = "raise --max, or --interval"
        return f"its work lasts {work:.0f} s on {max_processes} processes, {limit}; {advice}"
    return None


plot_option = click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path),
    help="Also draw it to this file; needs the extra plot.",
)


def check_plot(path: Path | None) -> None:
    """Fail before a long run for what would make its end fail."""
    if path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        fail([missing_extra("matplotlib", "plot")], 1)
    if not path.absolute().parent.is_dir():
        fail([f"--plot is {shown(str(path))}; its folder does not exist"], 2)


@contextmanager
def drawn(path: Path | None) -> Iterator[Path | None]:
    """Draw to ``path`` within, and say that it was written; ends the command where it cannot be."""
    try:
        yield path
    except PlotError as fault:
        fail([str(fault)], 1)
    if path is not None:
        click.echo(f"autoscaler: the plot was written to {path}", err=True)


class ReplayProgress:
    """What is being done, on standard error where that is a terminal."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._shown = sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Report what begins now."""
        self._done += 1
        if self._shown:
            click.echo(f"\r\x1b[K{self._done}/{self._steps} {what} ...", nl=False, err=True)

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
