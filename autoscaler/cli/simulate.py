"""``autoscaler simulate``: a trace in, what each policy would have made of it out."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.replay import ReplayProgress, check_plot, drawn, plot_option, set_up, with_trace
from autoscaler.simulation.peers import PEERS, size_peer
from autoscaler.simulation.plot import plot_comparison
from autoscaler.simulation.report import as_dict, summarize, table
from autoscaler.simulation.verdict import missed, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from autoscaler.cli.replay import Setup
    from autoscaler.settings.load import Settings
    from autoscaler.simulation.engine import ReplayResult


@click.command("simulate")
@with_trace
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Compare with common alternatives, each sized to keep the target for 99 % of the tasks.",
)
@plot_option
def command(settings: Settings, *, as_json: bool, peers: bool, plot_path: Path | None, **given: Any) -> None:
    """Replay a TRACE through the decider. Prints the cost and the waits that it would have had.

    TRACE is a CSV file: `offset_s,service_s` with one row for each task, or counts for each bin
    (`offset_s,count` or `timestamp,value`) with --service-mean. With --prometheus it is read from there. A
    --max of auto is 64 here.
    """
    check_plot(plot_path)
    setup = set_up(settings, given)
    progress = ReplayProgress(2 + (len(PEERS) if peers else 0))
    outcomes = []
    for name, run in _runs(setup, peers=peers):
        progress.step(name)
        outcomes.append(run())
    progress.end()
    summaries = [summarize(outcome, setup.target_wait_seconds) for outcome in outcomes]
    target_wait = setup.target_wait_seconds
    with drawn(plot_path) as path:
        if path is not None:
            ours = summaries[0].policy
            plot_comparison(setup.trace, target_wait, outcomes, summaries, path, ours=ours)
    result = verdict(summaries, target_wait)
    if as_json:
        shown = as_dict(setup.trace, target_wait, summaries) | {"result": result}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(f"{table(setup.trace, target_wait, summaries)}\n")
        if late := missed(summaries, target_wait):
            click.echo(f"{late}.")
        click.echo(f"{result}.")


def _runs(setup: Setup, *, peers: bool) -> Iterator[tuple[str, Callable[[], ReplayResult]]]:
    target_wait = f"latency {setup.target_wait_seconds:g} s"
    yield target_wait, partial(setup.replay, target_wait, setup.parameters)
    yield "thresholds", partial(setup.replay, "thresholds", None)
    for peer in PEERS if peers else ():
        yield peer.name, partial(size_peer, peer, setup.trace, setup.model, setup.target_wait_seconds)
