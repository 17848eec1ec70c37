"""Both images, by the steps of their Dockerfiles as they stand: what they hold, and that it runs confined."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoscaler.demo.embedded import PostgresServer, Process, RedisServer, free_port
from tests.deploy.image import PACKAGES, TOP, Stage, StepError, build, build_text, context_files, start, steps
from tests.deploy.tools import run_tool
from tests.support.plain_http import answers, http_client
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILES = ("Dockerfile.api", "Dockerfile.autoscaler")
needs_pip = pytest.mark.skipif(
    not (PACKAGES / "pip").exists(),
    reason=f"an image's Python has pip, and {PACKAGES} has none: run by a Python that has",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a root of its own: run as root")


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder for the files of an image, which are too many to be kept."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        yield Path(folder)


def packages(stage: Stage) -> set[str]:
    """The distributions that an image holds."""
    found = (stage.root / "app").glob("lib/python3*/site-packages/*.dist-info")
    return {path.name.partition("-")[0].lower().replace("_", "-") for path in found}


def pinned(name: str) -> set[str]:
    text = (TOP / "deploy/requirements" / name).read_text()
    return set(re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE))


def ended(stage: Stage, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code of a command of the image, and its last line."""
    done = subprocess.run(
        start(stage, list(arguments), environment=environment), capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


@pytest.mark.host
@pytest.mark.slow
@needs_root
@needs_pip
@needs("unshare")
def test_the_autoscaler_runs_from_its_image_without_rights_on_a_read_only_tree(tmp_path: Path, out: Path):
    stage = build(TOP / "Dockerfile.autoscaler", out)
    assert (stage.user, stage.entrypoint, stage.command, stage.healthcheck, stage.ports) == (
        "10001:10001",
        ["autoscaler"],
        ["run"],
        ["autoscaler", "healthcheck"],
        ["9809"],
    )
    assert packages(stage) == pinned("autoscaler.txt") | {"celery-pool-autoscaler"}
    assert not (stage.root / "app/bin/docservice").exists()
    listen = f"127.0.0.1:{free_port()}"
    code, line = ended(stage, "run")
    assert (code, line.startswith("autoscaler: REDIS_URL is not set; ")) == (2, True)
    with RedisServer(tmp_path / "redis") as server:
        given = {"REDIS_URL": server.url, "AUTOSCALER_LISTEN": listen}
        command = start(stage, environment=given)
        with Process(command, log_path=tmp_path / "log") as daemon:
            daemon.wait_until(
                lambda: answers(f"http://{listen}/readyz"), within_seconds=60, what="a daemon that is ready"
            )
            assert ended(stage, "healthcheck", AUTOSCALER_LISTEN=listen)[0] == 0
            assert daemon.stop() == 0
    assert ended(stage, "healthcheck", AUTOSCALER_LISTEN=listen)[0] == 1


def may_write(stage: Stage, *paths: str) -> list[str]:
    """Those of the paths that the image's user may make a file in."""
    tries = "; ".join(f"touch {path}/x 2>/dev/null && echo {path}" for path in paths)
    done = subprocess.run(
        start(stage, words=["sh", "-c", tries]), capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def passable(folder: str) -> Path:
    """A folder that the user of Postgres may pass."""
    Path(folder).chmod(0o711)
    return Path(folder)


@pytest.mark.host
@pytest.mark.slow
@needs_root
@needs_pip
@needs("unshare")
def test_a_burst_goes_through_the_service_as_its_image_runs_it(tmp_path: Path, out: Path):
    stage = build(TOP / "Dockerfile.api", out)
    assert_as_declared(stage)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    os.chown(blobs, 10001, 10001)
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(tmp_path / "redis") as redis,
        PostgresServer(passable(folder) / "postgres") as postgres,
    ):
        given = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": postgres.url,
            "DOCSERVICE_BLOB_URL": f"file://{blobs}",
            "DOCSERVICE_HTTP_PORT": str(free_port()),
        }
        assert ended(stage, "migrate", **given)[0] == 0
        token = token_of(stage, given)
        api = start(stage, environment=given, volumes=(blobs,))
        worker = start(stage, ["worker", "-c", "1", "-n", "w@image"], environment=given, volumes=(blobs,))
        with (
            Process(api, log_path=tmp_path / "api.log") as serving,
            Process(worker, log_path=tmp_path / "worker.log") as working,
        ):
            listen = f"127.0.0.1:{given['DOCSERVICE_HTTP_PORT']}"
            serving.wait_until(
                lambda: answers(f"http://{listen}/readyz"), within_seconds=60, what="an API that is ready"
            )
            assert ended(stage, "healthcheck", "--ready", **given)[0] == 0
            url = f"http://{listen}"
            sent = ended(
                stage, "burst", "--documents", "5", "--per-request", "3", "--url", url, DOCSERVICE_TOKEN=token
            )
            assert (sent[0], sent[1].partition(" in ")[0]) == (0, "sent 5 mails to burst")

            working.wait_until(
                lambda: states(url, token, 5) == ["processed"] * 5,
                within_seconds=60,
                what="five mails processed",
            )
            # It ends in order and then by the signal's own way, as uvicorn does.
            assert serving.stop() in {0, -signal.SIGTERM}
            working.kill()  # a warm shutdown may take half a minute


def assert_as_declared(stage: Stage) -> None:
    """The image of the API holds and may write what its Dockerfile says, and names what it lacks."""
    assert (stage.user, stage.entrypoint, stage.command, stage.healthcheck, stage.ports) == (
        "10001:10001",
        ["docservice"],
        ["api", "--host", "0.0.0.0"],
        ["docservice", "healthcheck"],
        ["8000"],
    )
    assert packages(stage) == pinned("api.txt") | {"celery-pool-autoscaler"}
    assert may_write(stage, "/", "/app", "/usr/local", "/var/lib/docservice/blobs", "/tmp") == ["/tmp"]
    code, line = ended(stage, "api")
    assert (code, line.startswith("docservice: REDIS_URL is not set; ")) == (2, True)


def states(url: str, token: str, count: int) -> list[str]:
    """The states of the first documents."""
    query = "&".join(f"id={number}" for number in range(1, count + 1))
    with http_client(url, token=token) as client:
        return [row["state"] for row in client.get(f"/documents?{query}").json()["data"]]


def token_of(stage: Stage, given: dict[str, str]) -> str:
    """An operator's token, made by the image's own command."""
    words = ["token", "create", "--name", "load", "--role", "operator"]
    done = subprocess.run(start(stage, words, environment=given), capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_stage_has_the_same_base_by_tag_and_digest(name: str):
    bases = {
        step.rest.partition(" AS ")[0] for step in steps((TOP / name).read_text()) if step.word == "FROM"
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.[0-9]+-slim-bookworm@sha256:[0-9a-f]{64}", bases.pop())


def test_the_builder_sees_what_the_images_need_and_nothing_else():
    seen = {path.relative_to(TOP).parts[0] for path in context_files(TOP, ".")}
    assert seen == {"README.md", "autoscaler", "deploy", "docservice", "pyproject.toml"}
    assert {path.suffix for path in context_files(TOP, "deploy")} == {"", ".in", ".txt"}
    assert not [path for path in context_files(TOP, ".") if "__pycache__" in path.parts]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing_to_say(name: str):
    assert run_tool("hadolint", "--failure-threshold=style", TOP / name) == (0, "")


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("FROM x\nCOPY deploy/none.txt ./\n", "there is no such file"),
        ("FROM x\nCOPY tests ./\n", "there is no such file"),
        ("FROM x\nENTRYPOINT docservice api\n", "write the exec form"),
        ("FROM x\nENTRIPOINT ['a']\n", "not understood"),
    ],
)
def test_a_step_that_cannot_be_run_is_named(fault: str, given: str, out: Path):
    with pytest.raises(StepError, match=given):
        build_text(fault, out)


@pytest.mark.host
@needs_root
@needs_pip
@needs("unshare")
def test_a_step_that_fails_ends_the_build_with_its_own_message(out: Path):
    text = "FROM x\nRUN python -c 'import fastapi'\n"
    with pytest.raises(StepError, match=r"(?s)exit 1.*No module named 'fastapi'"):
        build_text(text, out)
