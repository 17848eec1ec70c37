"""``autoscaler tune``: search the parameters of the target wait on a trace."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.options import Parsed, fail
from autoscaler.cli.replay import ReplayProgress, check_plot, drawn, plot_option, set_up, with_trace
from autoscaler.core.policy import Policy
from autoscaler.settings.parse import number
from autoscaler.settings.table import THRESHOLDS, flag_of
from autoscaler.simulation.plot import plot_trials
from autoscaler.simulation.report import as_dict, table
from autoscaler.simulation.tune import distinct
from autoscaler.simulation.tune import tune as search

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from autoscaler.cli.replay import Setup
    from autoscaler.settings.load import Settings
    from autoscaler.simulation.tune import Trial

_SHOWN_TRIALS = 8


@click.command("tune")
@with_trace
@click.option(
    "--share",
    type=Parsed(number(0.000001, 1, "share of the tasks")),
    default=0.999,
    show_default=True,
    help="Share of the tasks that must start within the target.",
)
@plot_option
def command(settings: Settings, *, as_json: bool, share: float, plot_path: Path | None, **given: Any) -> None:
    """Find the parameters for a TRACE. Prints the flags of --target-wait to use.

    The cheapest is taken: of the settings that keep the target for --share of the tasks, the one with the
    least process-seconds, where each start adds --start-worth seconds. On a tie, fewer starts win, then the
    flags as given. TRACE is what `autoscaler simulate` takes. What is printed was replayed through the
    daemon's own decider.
    """
    check_plot(plot_path)
    setup = set_up(settings, given)
    progress = ReplayProgress(1)
    progress.step("searching the parameters")
    trials = search(
        setup.trace,
        setup.model,
        setup.policy,
        setup.parameters,
        share=share,
        interval_seconds=setup.interval_seconds,
        min_interval_seconds=setup.min_interval_seconds,
    )
    progress.end()
    chosen, summary = trials[0], trials[0].summary
    if summary.within_target < share:
        best = (
            f"no setting keeps {setup.target_wait_seconds:g} s for {share:.2%} of the tasks, the best does"
            f" for {summary.within_target:.2%}; raise --max or --target-wait, or lower --share"
        )
        fail([best], 1)
    with drawn(plot_path) as path:
        if path is not None:
            plot_trials(trials, chosen, setup.target_wait_seconds, path)
    flags = _flags(setup, chosen)
    if as_json:
        shown = as_dict(setup.trace, setup.target_wait_seconds, [trial.summary for trial in trials])
        for policy, trial in zip(shown["policies"], trials, strict=True):
            policy |= {"parameters": asdict(trial.parameters), "price": trial.price, "keeps": trial.keeps}
        best = as_dict(setup.trace, setup.target_wait_seconds, [summary])["policies"][0]
        click.echo(json.dumps({**shown, "flags": flags, "replayed": best}, indent=2))
        return
    click.echo(table(setup.trace, setup.target_wait_seconds, distinct(trials)[:_SHOWN_TRIALS]))
    click.echo(f"\n{_choice(setup, trials, share)}")
    click.echo(f"\nFlags to use:\n{' '.join(flags)}")


def _choice(setup: Setup, trials: Sequence[Trial], share: float) -> str:
    """Which setting was taken and by what measure, ties included."""
    chosen, worth = trials[0], setup.parameters.start_worth_seconds
    kept = [trial for trial in trials if trial.keeps]
    ties = sum(trial.price == chosen.price for trial in kept) - 1
    others = f"{ties} other{'s' * (ties != 1)} came to the same" if ties else "no other came to the same"
    return (
        f"Taken: {chosen.summary.policy}. {len(kept)} of {len(trials)} settings start {share:.2%} of the"
        f" tasks within {setup.target_wait_seconds:g} s; of these it has the least process-seconds, with"
        f" {worth:g} s added for each start (--start-worth): {chosen.price:.0f} s; {others}."
        " On a tie fewer starts win, then the flags as given."
    )


def _flags(setup: Setup, chosen: Trial) -> list[str]:
    """The flags to paste: what was searched, and of the rest what was given."""
    searched = {
        "--target-wait": f"{chosen.parameters.target_wait_seconds:g}s",
        "--start-worth": f"{chosen.parameters.start_worth_seconds:g}",
        "--release-caution": f"{chosen.parameters.release_caution:g}",
    }
    others = {
        "--interval": setup.interval_seconds,
        "--min-interval": setup.min_interval_seconds,
        **{flag_of(one.name): getattr(setup.policy, one.name) for one in fields(Policy)},
    }
    unused = {setting.flag for setting in THRESHOLDS}
    given = {
        flag: f"{value:.15g}"
        for flag, value in others.items()
        if flag.removeprefix("--").replace("-", "_") in setup.given and flag not in unused
    }
    return [f"{flag} {value}" for flag, value in (searched | given).items()]
