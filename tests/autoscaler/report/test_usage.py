"""A usage error is one line that says what is legal and what to do, in both programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from autoscaler.cli.main import COMMANDS
from autoscaler.cli.main import main as autoscaler
from autoscaler.report.usage import OneLineGroup
from docservice.cli.main import main as docservice

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {"autoscaler": autoscaler, "docservice": docservice}
CASES = {
    "autoscaler chekc": "there is no command 'chekc'; did you mean check?",
    "autoscaler xyz": f"there is no command 'xyz'; commands: {', '.join(COMMANDS)}",
    "autoscaler --vresion": "there is no option --vresion; did you mean --version?",
    "autoscaler run --targetwait 5s": "there is no option --targetwait; did you mean --target-wait?",
    "autoscaler run -x": "there is no option -x; see autoscaler run --help",
    "autoscaler run --max": "option '--max' requires an argument; see autoscaler run --help",
    "autoscaler run --dry-run=yes": "option '--dry-run' does not take a value; see autoscaler run --help",
    "autoscaler run x": "got unexpected extra argument (x); see autoscaler run --help",
    "autoscaler drain": "WORKER... is missing; see autoscaler drain --help",
    "autoscaler drain w --deadline x": "--deadline is 'x'; it must be a number from 1 to 86400 (seconds)",
    "autoscaler check-worker w --within 0": "--within is 0.0; it must be a number from 1 to 3600",
    "autoscaler redis://me:s3cret@h/0": (
        f"there is no command 'redis://***@h/0'; commands: {', '.join(COMMANDS)}"
    ),
    "docservice tokn create": "there is no command 'tokn'; did you mean token?",
    "docservice token craete": "there is no command 'craete'; did you mean create?",
    "docservice token create": "--name is missing; see docservice token create --help",
    "docservice token create --name a --role operater": (
        "--role is 'operater'; it must be one of viewer, operator, system_admin; did you mean operator?"
    ),
    "docservice token create --name a --role x": (
        "--role is 'x'; it must be one of viewer, operator, system_admin"
    ),
    "docservice token create --name a --expires-in-days 0": (
        "--expires-in-days is 0.0; it must be a number above 0 up to 3650"
    ),
    "docservice api --port 99999": "--port is 99999; it must be a whole number from 0 to 65535",
    "docservice api --port http": "--port is 'http'; it must be a whole number from 0 to 65535",
    "docservice api --workers 0": "--workers is '0'; it must be auto, or a whole number of 1 or more",
    "docservice redis://me:s3cret@h/0": (
        f"there is no command 'redis://***@h/0'; commands: {', '.join(sorted(docservice.commands))}"
    ),
}


@pytest.mark.parametrize("words", CASES)
def test_a_usage_error_is_one_line_with_what_is_legal_or_where_it_stands(words: str) -> None:
    program, *arguments = words.split()
    done = CliRunner().invoke(PROGRAMS[program], arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"{program}: {CASES[words]}\n")


def test_a_variable_is_named_where_the_value_came_from_it() -> None:
    done = CliRunner(env={"DOCSERVICE_HTTP_PORT": "http"}).invoke(docservice, ["api"])
    line = "docservice: DOCSERVICE_HTTP_PORT is 'http'; it must be a whole number from 0 to 65535\n"
    assert (done.exit_code, done.stderr) == (2, line)


def test_a_message_of_clicks_own_kinds_leads_to_the_help(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(docservice, ["samples", f"{tmp_path}/file"])
    line = f"docservice: FOLDER: Directory '{tmp_path}/file' is a file; see docservice samples --help\n"
    assert (done.exit_code, done.stderr) == (2, line)


def test_a_group_without_a_command_prints_its_help() -> None:
    done = CliRunner().invoke(docservice, ["token"])
    assert (done.exit_code, done.output.partition("\n")[0]) == (
        2,
        "Usage: docservice token [OPTIONS] COMMAND [ARGS]...",
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_refuses_an_unknown_option_in_one_line(program: str) -> None:
    def paths(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        context = click.Context(group)
        found = []
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            found += paths(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
        return found

    every = [path for path in paths(PROGRAMS[program]) if path != ("worker",)]  # passes options to Celery
    lines = {path: CliRunner().invoke(PROGRAMS[program], [*path, "--hlep"]).stderr for path in every}
    line = f"{program}: there is no option --hlep; did you mean --help?\n"
    assert lines == dict.fromkeys(every, line)


def test_a_range_says_which_ends_it_has() -> None:
    @click.group("p", cls=OneLineGroup)
    def group() -> None:
        """Group."""

    kinds = {
        "low": click.IntRange(1),
        "high": click.IntRange(max=9),
        "between": click.FloatRange(0, 1, min_open=True, max_open=True),
    }

    @group.command("c")
    @click.option("--low", type=kinds["low"])
    @click.option("--high", type=kinds["high"])
    @click.option("--between", type=kinds["between"])
    def _command(**_values: object) -> None:
        """Command."""

    found = [CliRunner().invoke(group, ["c", f"--{name}", "99" if name != "low" else "0"]) for name in kinds]
    assert [done.stderr for done in found] == [
        "p: --low is 0; it must be a whole number from 1\n",
        "p: --high is 99; it must be a whole number up to 9\n",
        "p: --between is 99.0; it must be a number above 0 and below 1\n",
    ]
