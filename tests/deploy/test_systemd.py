"""The systemd units: legal by systemd's own reader, confined, and in step with the commands they start."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from autoscaler.cli.main import main as autoscaler
from docservice.cli.main import main as docservice
from tests.deploy.tools import TOP
from tests.support.doc_tables import subcommands
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path

UNITS = sorted((TOP / "deploy/systemd").glob("*.service"))
PREFIX = "/opt/celery-autoscaler/bin/"
COMMANDS = {"autoscaler": autoscaler, "docservice": docservice}
#: `systemd-analyze security` gives 0 (confined) to 10 (open), times ten here.
MAX_EXPOSURE = 25


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", unit.read_text())


def installed(unit: Path, folder: Path) -> Path:
    """The unit with its programs where something executable is."""
    for name in COMMANDS:
        program = folder / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    copy = folder / unit.name
    copy.write_text(unit.read_text().replace(PREFIX, f"{folder}/"))
    return copy


def analyze(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        ("systemd-analyze", *map(str, words)), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_there_is_a_unit_for_each_long_running_program():
    assert [unit.name for unit in UNITS] == [
        "celery-autoscaler.service",
        "docservice-api.service",
        "docservice-worker.service",
    ]


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_reads_it_without_a_complaint(unit: Path, tmp_path: Path):
    assert analyze("verify", "--man=no", "--recursive-errors=no", installed(unit, tmp_path)) == (0, "")


@needs("systemd-analyze")
def test_a_key_that_systemd_does_not_know_is_found(tmp_path: Path):
    unit = installed(UNITS[0], tmp_path)
    unit.write_text(unit.read_text().replace("MemoryMax=", "MemoryMaximum="))
    _, said = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert "MemoryMaximum" in said


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_confined(unit: Path, tmp_path: Path):
    copy = installed(unit, tmp_path)
    code, said = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", copy)
    assert code == 0, said


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_every_command_and_flag_is_one_of_the_program(unit: Path):
    for line in values(unit, "ExecStart(?:Pre)?"):
        program, command, *words = shlex.split(line.removeprefix(PREFIX))
        options = {option for item in subcommands(COMMANDS[program])[command].params for option in item.opts}
        passed_on = {"-n"} if command == "worker" else set()  # Celery's own
        assert {word for word in words if word.startswith("-")} - options - passed_on == set()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_no_secret_is_in_the_environment(unit: Path):
    names = [line.partition("=")[0] for line in values(unit, "Environment")]
    assert [name for name in names if re.search("PASSWORD|TOKEN|_URL$", name) and "BLOB" not in name] == []


def test_the_worker_may_finish_its_longest_task():
    worker = next(unit for unit in UNITS if unit.stem == "docservice-worker")
    longest = int(
        dict(line.split("=", 1) for line in values(worker, "Environment"))["DOCSERVICE_PROCESSING_SECONDS"]
    )
    assert values(worker, "TimeoutStopSec") == [str(longest + 35)]
    assert values(worker, "KillMode") == ["mixed"]
