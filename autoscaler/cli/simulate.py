"""``autoscaler simulate``: a trace in, what each policy would have made of it out."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.options import fail, missing_extra
from autoscaler.cli.replay import Progress, set_up, with_trace
from autoscaler.settings.mask import shown
from autoscaler.simulation.peers import PEERS, size_peer
from autoscaler.simulation.report import PlotError, as_dict, plot, summarize, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autoscaler.cli.replay import Setup
    from autoscaler.settings.load import Settings
    from autoscaler.simulation.engine import Outcome


@click.command("simulate")
@with_trace
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Compare with common alternatives, each sized to keep the target for 99 % of the tasks.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path),
    help="Also draw it to this file; needs the extra plot.",
)
def command(settings: Settings, *, as_json: bool, peers: bool, plot_path: Path | None, **given: Any) -> None:
    """Replay a TRACE through the decider. Prints the cost and the waits that it would have come to.

    TRACE is a CSV file: `offset_s,service_s` with one row for each task, or counts for each bin
    (`offset_s,count` or `timestamp,value`) with --service-mean. With --prometheus it is read from there. A
    --max of auto is 64 here.
    """
    if plot_path is not None:
        _check_plot(plot_path)
    setup = set_up(settings, given)
    progress = Progress(2 + (len(PEERS) if peers else 0))
    outcomes = []
    for name, run in _runs(setup, peers=peers):
        progress.step(name)
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
    target_wait = f"latency {setup.target_wait_seconds:g} s"
    yield target_wait, partial(setup.replay, target_wait, setup.parameters)
    yield "thresholds", partial(setup.replay, "thresholds", None)
    for peer in PEERS if peers else ():
        yield peer.name, partial(size_peer, peer, setup.trace, setup.model, setup.target_wait_seconds)


def _check_plot(path: Path) -> None:
    """Fail before a long run for what would make its end fail."""
    if importlib.util.find_spec("matplotlib") is None:
        fail([missing_extra("matplotlib", "plot")], 1)
    if not path.absolute().parent.is_dir():
        fail([f"--plot is {shown(str(path))}; its folder does not exist"], 2)
