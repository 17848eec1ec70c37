"""``autoscaler concurrency``: the size to start a worker with."""

from __future__ import annotations

from click.testing import CliRunner

from autoscaler.cli.main import main


def test_concurrency_takes_its_bounds_from_settings_and_prints_one_number():
    done = CliRunner().invoke(main, ["concurrency", "--max", "1"], env={"REDIS_URL": ""})
    assert (done.exit_code, done.output) == (0, "1\n")
    done = CliRunner().invoke(main, ["concurrency", "--min", "0"])
    assert (done.exit_code, done.stdout) == (2, "")
