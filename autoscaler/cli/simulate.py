"""``autoscaler simulate``: a trace in, what each policy would have made of it out."""

from __future__ import annotations

import json
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.replay import ReplayProgress, check_plot, drawn, plot_option, set_up, with_trace
from autoscaler.simulation.clairvoyant import NAME, clairvoyant
from autoscaler.simulation.peers import PEERS, size_peer
from autoscaler.simulation.plot import plot_comparison
from autoscaler.simulation.report import as_dict, summarize, table
from autoscaler.simulation.verdict import distance, missed, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from autoscaler.cli.replay import Setup
    from autoscaler.settings.load import Settings
    from autoscaler.simulation.engine import ReplayResult
    from autoscaler.simulation.report import Summary

#: The common alternatives; the other word that --peers takes is the name of the bound.
_ALL = "all"


class _Simulate(click.Command):
    """Takes ``--peers`` without a word too: what follows it is then no word of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words as given, with the one that ``--peers`` stands for."""
        words = [
            f"{word}={_ALL}" if word == "--peers" and following not in {_ALL, NAME} else word
            for word, following in zip_longest(args, args[1:])
        ]
        return super().parse_args(ctx, words)


@click.command("simulate", cls=_Simulate)
@with_trace
@click.option(
    "--peers",
    multiple=True,
    type=click.Choice([_ALL, NAME]),
    default=[_ALL],
    show_default=True,
    help="all: compare with common alternatives, each sized to keep the target for 99 % of the tasks."
    f" {NAME}: show what a plan would cost that knows the future, as a bound. Give it twice for both.",
)
@click.option("--no-peers", is_flag=True, help="Compare with nothing.")
@plot_option
def command(
    settings: Settings,
    *,
    as_json: bool,
    peers: tuple[str, ...],
    no_peers: bool,
    plot_path: Path | None,
    **given: Any,
) -> None:
    """Replay a TRACE through the decider. Prints the cost and the waits that it would have had.

    TRACE is a CSV file: `offset_s,service_s` with one row for each task, or counts for each bin
    (`offset_s,count` or `timestamp,value`) with --service-mean. With --prometheus it is read from there. A
    --max of auto is 64 here.
    """
    check_plot(plot_path)
    setup = set_up(settings, given)
    chosen = frozenset() if no_peers else frozenset(peers)
    runs = list(_runs(setup, chosen))
    progress = ReplayProgress(len(runs))
    outcomes = []
    for name, run in runs:
        progress.step(name)
        outcomes.append(run())
    progress.end()
    target_wait = setup.target_wait_seconds
    summaries = [summarize(outcome, target_wait) for outcome in outcomes]
    bound = (outcomes.pop(), summaries.pop()) if NAME in chosen else None
    with drawn(plot_path) as path:
        if path is not None:
            ours = summaries[0].policy
            plot_comparison(setup.trace, target_wait, outcomes, summaries, path, ours=ours, bound=bound)
    _say(setup, summaries, bound[1] if bound else None, as_json=as_json)


def _say(setup: Setup, summaries: Sequence[Summary], bound: Summary | None, *, as_json: bool) -> None:
    target_wait = setup.target_wait_seconds
    result = verdict(summaries, target_wait)
    if as_json:
        shown = as_dict(setup.trace, target_wait, summaries, bound) | {"result": result}
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo(f"{table(setup.trace, target_wait, summaries, bound)}\n")
    if late := missed(summaries, target_wait):
        click.echo(f"{late}.")
    click.echo(f"{result}.")
    if bound is not None:
        click.echo(f"{distance(summaries[0], bound)}.")


def _runs(setup: Setup, chosen: frozenset[str]) -> Iterator[tuple[str, Callable[[], ReplayResult]]]:
    """What is to be run: ours, the others, and the bound last."""
    target_wait = f"latency {setup.target_wait_seconds:g} s"
    yield target_wait, partial(setup.replay, target_wait, setup.parameters)
    yield "thresholds", partial(setup.replay, "thresholds", None)
    given = (setup.trace, setup.model, setup.target_wait_seconds)
    worth = setup.parameters.start_worth_seconds
    for peer in PEERS if _ALL in chosen else ():
        yield peer.name, partial(size_peer, peer, *given, start_worth_seconds=worth)
    if NAME in chosen:
        yield NAME, partial(clairvoyant, *given, start_worth_seconds=worth)
