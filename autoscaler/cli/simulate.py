"""The commands `simulate` and `tune`: a trace in, what each policy would have made of it out.

Exit codes: 0 done, 1 the world did not do its part (Prometheus, matplotlib, or no setting that keeps the
target), 2 the trace or an option has a fault: one line on standard error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.options import fail, options, parsed
from autoscaler.core.decider import Decider
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.policy import Policy, PolicyError
from autoscaler.settings import table as config
from autoscaler.simulation.decided import DecidedScaler
from autoscaler.simulation.engine import PoolModel, simulate
from autoscaler.simulation.peers import PEERS, size_peer
from autoscaler.simulation.prometheus import Prometheus, PrometheusError, Span
from autoscaler.simulation.report import PlotError, as_dict, plot, summarize, table
from autoscaler.simulation.traces import ServiceModel, Trace, TraceError, parse_counts, parse_tasks
from autoscaler.simulation.tune import tune as search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from autoscaler.simulation.engine import Outcome
    from autoscaler.simulation.tune import Trial

#: A pool here has no container that could say how much it bears.
MOST_WITHOUT_LIMIT = 64
_DAY_SECONDS = 86_400.0
_SPAN = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)(s|m|h|d|)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": _DAY_SECONDS}
_SETTINGS = {setting.key: setting for setting in (*config.LATENCY, *config.RUN)}
_SHOWN_TRIALS = 8
#: A tick takes some 50 us: about two minutes for each policy.
_MOST_TICKS = 2_000_000

Command = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What both commands work on."""

    trace: Trace
    model: PoolModel
    policy: Policy
    parameters: TargetWaitPolicy
    interval_seconds: float

    @property
    def target_wait_seconds(self) -> float:
        """What every task is to start within."""
        return self.parameters.target_wait_seconds

    def replay(self, name: str, parameters: TargetWaitPolicy | None) -> Outcome:
        """Run the trace through the daemon's decider: by the latency demand, or by the thresholds."""
        decider = Decider(policy=self.policy, target_wait=parameters)
        scaler = DecidedScaler(
            decider,
            name=name,
            start_seconds=self.model.start_seconds,
            interval_seconds=self.interval_seconds,
        )
        return simulate(self.trace, scaler, self.model)


def _span(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Seconds from ``30``, ``30s``, ``5m``, ``2h`` or ``1d``."""
    if text is None:
        return None
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text[:60]!r}; it must be a time, as in 30s, 5m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


def _target(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    try:
        queue, seconds = config.parse_target(text)
    except ValueError as fault:
        raise click.BadParameter(f"{text[:60]!r}; {fault}") from None
    if queue:
        raise click.BadParameter(f"{text[:60]!r}; one queue is simulated: give its time alone, as in 5s")
    return seconds


def _target_of_environment() -> str:
    """The general target of a daemon's environment, which may be off or have targets of single queues too."""
    words = os.environ.get(config.TARGET_WAIT.variable, "").split()
    general = [word for word in words if "=" not in word and word.lower() != "off"]
    return general[-1] if general else config.TARGET_WAIT.default


def _moment(text: str, now: float) -> float:
    """Unix seconds from ISO 8601 (UTC unless it says otherwise), from Unix seconds, or from how long ago.

    Raises:
        ValueError: with what is legal.
    """
    ago = _SPAN.fullmatch(text.strip().lower())
    if ago is not None:
        seconds = float(ago[1]) * _UNITS[ago[2]]
        return now - seconds if ago[2] else seconds
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text[:60]!r}; it must be a time as in 2026-01-31T08:00, Unix seconds, or as long ago as 24h"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_SOURCE_OPTIONS: Sequence[Callable[[Command], Command]] = (
    click.argument("trace", required=False, type=click.Path(path_type=Path)),
    click.option(
        "--service-mean",
        type=click.FloatRange(0, 86_400, min_open=True),
        help="Mean service time in seconds, for a trace of counts.",
    ),
    click.option(
        "--service-cv",
        type=click.FloatRange(0, 100),
        default=1.0,
        show_default=True,
        help="Standard deviation of service times over their mean, for counts and Prometheus.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="What counts and Prometheus are drawn by."
    ),
    click.option("--prometheus", metavar="URL", help="Read the daemon's own metrics instead of a file."),
    click.option(
        "--start", default="24h", show_default=True, help="As in 2026-01-31T08:00 (UTC), or how long ago."
    ),
    click.option("--end", default="0s", show_default=True, help="As --start."),
    click.option(
        "--step", default="30s", show_default=True, callback=_span, help="Time between two samples."
    ),
    click.option("--select", default="", help="""Label matchers of the series, as in 'queues="mails"'."""),
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 600),
        default=10.0,
        show_default=True,
        help="Seconds that one answer of Prometheus may take.",
    ),
)

_POOL_OPTIONS: Sequence[Callable[[Command], Command]] = (
    options(config.PARAMETERS),
    click.option(
        "--target-wait",
        default=_target_of_environment,
        show_default="that of AUTOSCALER_TARGET_WAIT, or 5s",
        callback=_target,
        help="Every task is to start within this time.",
    ),
    parsed(_SETTINGS["start_worth"]),
    parsed(_SETTINGS["release_caution"]),
    parsed(_SETTINGS["interval"]),
    click.option(
        "--start-delay",
        default="1s",
        show_default=True,
        callback=_span,
        help="Time from a resize to a process that takes tasks.",
    ),
    click.option(
        "--prefetch",
        type=click.IntRange(0, 10_000),
        default=4,
        show_default=True,
        help="Celery's worker_prefetch_multiplier.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table."),
)


def _all(decorators: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


@click.command("simulate")
@_all((*_SOURCE_OPTIONS, *_POOL_OPTIONS))
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Beside what a user would pick instead, each sized to keep the target for 99 %.",
)
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), help="Draw it as well; needs the extra plot."
)
def simulate_command(*, as_json: bool, peers: bool, plot_path: Path | None, **given: Any) -> None:
    """Replay a TRACE through the daemon's own decider and tell what it would have come to.

    TRACE is a CSV file: `offset_s,service_s` with one row for each task, or counts for each bin
    (`offset_s,count` or `timestamp,value`) with --service-mean. With --prometheus it is read from there. A
    --max of auto is 64 here.
    """
    if plot_path is not None:
        _check_plot(plot_path)
    setup = _set_up(given)
    progress = _Progress(2 + (len(PEERS) if peers else 0))
    outcomes = []
    for name, run in _runs(setup, peers=peers):
        progress.tell(name)
        outcomes.append(run())
    progress.end()
    summaries = [summarize(outcome, setup.target_wait_seconds) for outcome in outcomes]
    if plot_path is not None:
        try:
            plot(setup.trace, setup.target_wait_seconds, outcomes, plot_path)
        except PlotError as fault:
            fail([str(fault)], 1)
    if as_json:
        click.echo(json.dumps(as_dict(setup.trace, setup.target_wait_seconds, summaries), indent=2))
    else:
        click.echo(table(setup.trace, setup.target_wait_seconds, summaries))


def _runs(setup: Setup, *, peers: bool) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    latency = f"latency {setup.target_wait_seconds:g} s"
    yield latency, partial(setup.replay, latency, setup.parameters)
    yield "thresholds", partial(setup.replay, "thresholds", None)
    for peer in PEERS if peers else ():
        yield peer.name, partial(size_peer, peer, setup.trace, setup.model, setup.target_wait_seconds)


@click.command("tune")
@_all((*_SOURCE_OPTIONS, *_POOL_OPTIONS))
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.999,
    show_default=True,
    help="Share of the tasks that must start within the target.",
)
def tune_command(*, as_json: bool, share: float, **given: Any) -> None:
    """Search the parameters of --target-wait on a TRACE and print the flags to use.

    The cheapest that keeps the target is taken; a process that is started counts --start-worth seconds. TRACE
    is what `autoscaler simulate` takes. What is printed was replayed through the daemon's own decider.
    """
    setup = _set_up(given)
    progress = _Progress(1)
    progress.tell("searching the parameters")
    trials = search(
        setup.trace,
        setup.model,
        setup.policy,
        setup.parameters,
        share=share,
        interval_seconds=setup.interval_seconds,
    )
    progress.end()
    chosen, summary = trials[0], trials[0].summary
    if summary.within_target < share:
        best = (
            f"no setting keeps {setup.target_wait_seconds:g} s for {share:.2%} of the tasks, the best does"
            f" for {summary.within_target:.2%}; raise --max or --target-wait, or lower --share"
        )
        fail([best], 1)
    flags = _flags(setup, chosen)
    if as_json:
        shown = as_dict(setup.trace, setup.target_wait_seconds, [trial.summary for trial in trials])
        for policy, trial in zip(shown["policies"], trials, strict=True):
            policy |= {"parameters": asdict(trial.parameters), "price": trial.price, "keeps": trial.keeps}
        best = as_dict(setup.trace, setup.target_wait_seconds, [summary])["policies"][0]
        click.echo(json.dumps({**shown, "flags": flags, "replayed": best}, indent=2))
        return
    shown_trials = [trial.summary for trial in trials[:_SHOWN_TRIALS]]
    click.echo(table(setup.trace, setup.target_wait_seconds, shown_trials))
    click.echo(f"\nFlags to use:\n{' '.join(flags)}")


def _flags(setup: Setup, chosen: Trial) -> list[str]:
    """The flags that set the demand and its bounds, ready to be pasted."""
    given = {
        "--target-wait": f"{chosen.parameters.target_wait_seconds:g}s",
        "--start-worth": f"{chosen.parameters.start_worth_seconds:g}",
        "--release-caution": f"{chosen.parameters.release_caution:g}",
        "--interval": f"{setup.interval_seconds:g}",
        "--min": f"{setup.policy.min_processes}",
        "--max": f"{setup.policy.max_processes}",
    }
    return [f"{flag} {value}" for flag, value in given.items()]


def _set_up(given: dict[str, Any]) -> Setup:
    """What was asked for, checked before anything long begins."""
    try:
        policy = config.load_policy(
            {parameter.key: given[parameter.key] for parameter in config.PARAMETERS}, os.environ
        )
        if policy.max_processes is None:
            policy = replace(policy, max_processes=MOST_WITHOUT_LIMIT)
    except (config.ConfigError, PolicyError) as fault:
        fail(fault.faults, 2)
    parameters = TargetWaitPolicy(
        target_wait_seconds=given["target_wait"],
        start_worth_seconds=given["start_worth"],
        release_caution=given["release_caution"],
    )
    model = PoolModel(
        min_processes=policy.min_processes,
        max_processes=policy.max_processes or MOST_WITHOUT_LIMIT,
        start_seconds=given["start_delay"],
        prefetch=given["prefetch"],
    )
    trace = _trace(given)
    if trace.duration_seconds > _MOST_TICKS * given["interval"]:
        last = f"{trace.name}: it lasts {trace.duration_seconds:.0f} s, more than {_MOST_TICKS} ticks of"
        fail([f"{last} --interval {given['interval']:g}; cut the trace, or raise --interval"], 2)
    return Setup(
        trace=trace, model=model, policy=policy, parameters=parameters, interval_seconds=given["interval"]
    )


def _trace(given: dict[str, Any]) -> Trace:
    path, url = given["trace"], given["prometheus"]
    if (path is None) == (url is None):
        fail(["give either a TRACE file or --prometheus URL"], 2)
    try:
        return (
            _from_prometheus(given) if url is not None else read_trace(path, _service(given), given["seed"])
        )
    except TraceError as fault:
        fail([str(fault)], 2)
    except PrometheusError as fault:
        fail([str(fault)], 1)


def _service(given: dict[str, Any]) -> ServiceModel | None:
    mean = given["service_mean"]
    return None if mean is None else ServiceModel(mean_seconds=mean, variation=given["service_cv"])


def read_trace(path: Path, service: ServiceModel | None, seed: int) -> Trace:
    """The trace in a CSV file; its header tells tasks from counts, which need ``service``.

    Raises:
        TraceError: naming the file, the row and what is wrong.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline(1000)
            lines.seek(0)
            if header.replace(" ", "").strip() in {"offset_s,count", "timestamp,value"}:
                if service is None:
                    raise TraceError(
                        f"{path.name}: it has counts and no service times; give --service-mean SECONDS"
                    )
                return parse_counts(lines, path.name, service, seed=seed)
            return parse_tasks(lines, path.name)
    except UnicodeDecodeError:
        raise TraceError(f"{path.name}, row {_row_not_text(path)}: it is not text in UTF-8") from None
    except OSError as fault:
        raise TraceError(f"{path}: it cannot be read: {fault.strerror or fault}") from None


def _row_not_text(path: Path) -> int:
    """The row that made the beginning of a file unreadable."""
    row = 0
    with path.open("rb") as lines, suppress(UnicodeDecodeError):
        for row, line in enumerate(lines, start=1):  # noqa: B007 - it is returned
            line.decode()
    return row


def _from_prometheus(given: dict[str, Any]) -> Trace:
    now = time.time()
    moments = {}
    for flag in ("start", "end"):
        try:
            moments[flag] = _moment(given[flag], now)
        except ValueError as fault:
            fail([f"--{flag} is {fault}"], 2)
    try:
        span = Span(**moments, step_seconds=given["step"])
        server = Prometheus(given["prometheus"], timeout_seconds=given["timeout"])
    except PrometheusError as fault:
        fail([str(fault)], 2)
    trace, missing = server.trace(
        span, select=given["select"], variation=given["service_cv"], seed=given["seed"]
    )
    if missing:
        click.echo(
            f"autoscaler: {missing} of {span.points} steps have no sample and are taken for quiet", err=True
        )
    return trace


def _check_plot(path: Path) -> None:
    """Tell before a long run what would make its end fail."""
    if importlib.util.find_spec("matplotlib") is None:
        fail(["a plot needs matplotlib; install the extra: celery-pool-autoscaler[plot]"], 1)
    if not path.absolute().parent.is_dir():
        fail([f"--plot is {str(path)!r}; its folder does not exist"], 2)


class _Progress:
    """What is being worked on, on standard error where that is a terminal."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._shown = sys.stderr.isatty()

    def tell(self, what: str) -> None:
        """Say what begins now."""
        self._done += 1
        if self._shown:
            click.echo(f"\r\x1b[K{self._done}/{self._steps} {what} ...", nl=False, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
