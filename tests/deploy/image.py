"""Runs the steps of a Dockerfile as they stand, without a container engine, and then what it starts.

``FROM`` is the one step that is not run: its place is taken by a root of its own with this machine's system
folders and this interpreter's Python at ``/usr/local``, where the base image has its own. Everything else
of this machine is out of sight, so that a missing file or dependency is found. The commands run in a mount
namespace of their own, with only the build context that ``.dockerignore`` lets through. What is started from
the result runs as the image's user, without capabilities, on a read-only tree with an empty ``/tmp``.

Needs root on Linux. By hand: ``python -m tests.deploy.image Dockerfile.api [ARGUMENT...]``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.tools import TOP

#: Of this machine, read-only for the steps: libraries and programs that a slim base image has too.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SETTINGS = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssl")
_SETTINGS += ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime")
#: How this machine reaches its package registry; an image never sees these.
_REGISTRY = ("PIP_", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "SSL_CERT", "HTTP_PROXY", "HTTPS_PROXY")
#: What the Python beneath this environment has installed.
PACKAGES = Path(sysconfig.get_path("purelib", vars={"base": sys.base_prefix}))
_REGISTRY_FILES = ("/etc/pip.conf", "/etc/uv/uv.toml")
#: What this machine has fetched already, kept by hash.
_CACHE = "/var/cache/uv"
_KNOWN = {
    "FROM",
    "LABEL",
    "ENV",
    "WORKDIR",
    "COPY",
    "RUN",
    "USER",
    "EXPOSE",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}


class StepError(RuntimeError):
    """A step of a Dockerfile that failed or is not understood."""


@dataclass(frozen=True)
class Step:
    """One instruction: its word in capitals, and the rest of it on one line."""

    word: str
    rest: str


@dataclass
class Stage:
    """What one stage has come to: its files, and what its instructions set."""

    root: Path
    base: str
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    folder: str = "/"
    user: str = "0:0"
    labels: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)


def steps(text: str) -> list[Step]:
    """The instructions of a Dockerfile, comments left out and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [Step(line.split()[0].upper(), line.split(None, 1)[1]) for line in joined.splitlines() if line]
    unknown = {step.word for step in found} - _KNOWN
    if unknown:
        raise StepError(f"{', '.join(sorted(unknown))}: not understood here; teach tests/deploy/image.py")
    return found


def context_files(top: Path, folder: str) -> list[Path]:
    """The files under one path of the build context that ``.dockerignore`` lets through."""
    rules = [line for line in (top / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    start = top / folder
    found = [start] if start.is_file() else []
    for here, folders, files in os.walk(start):
        # Rules let nothing through below a folder with a dot; there are a lot of files.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, name) for name in sorted(files)]
    return [path for path in found if not _ignored(path.relative_to(top), rules)]


def _ignored(path: Path, rules: list[str]) -> bool:
    ignored = False
    names = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent.name)]
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/")
        tails = [name.rpartition("/")[2] for name in names] if pattern.startswith("**/") else names
        # A rule of one part without `**/` speaks of the top alone.
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in tails):
            ignored = not rule.startswith("!")
    return ignored


def build(dockerfile: Path, out: Path) -> Stage:
    """The last stage of a Dockerfile, its files under ``out``."""
    return build_text(dockerfile.read_text(), out)


def build_text(text: str, out: Path) -> Stage:
    """Run every step; the last stage, whose files are under ``out``. The context is the repository.

    Raises:
        StepError: with the step and the end of its output, when one fails.
    """
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in steps(text):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            root = out / (name or "last")
            root.mkdir(parents=True)
            stage = stages[name or "last"] = Stage(root=root, base=base)
        else:
            assert stage is not None, "a Dockerfile begins with FROM"
            _take(step, stage, stages, TOP)
    assert stage is not None
    return stage


def _take(step: Step, stage: Stage, stages: dict[str, Stage], top: Path) -> None:
    match step.word:
        case "ENV" | "LABEL":
            pairs = dict(word.split("=", 1) for word in shlex.split(step.rest))
            given = {
                name: re.sub(r"\$(\w+)", lambda found: stage.environment.get(found[1], ""), value)
                for name, value in pairs.items()
            }
            (stage.environment if step.word == "ENV" else stage.labels).update(given)
        case "WORKDIR":
            stage.folder = step.rest
            (stage.root / step.rest.strip("/")).mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = step.rest
        case "EXPOSE":
            stage.ports.append(step.rest)
        case "ENTRYPOINT":
            stage.entrypoint = _words(step)
        case "CMD":
            stage.command = _words(step)
        case "HEALTHCHECK":
            stage.healthcheck = _words(Step("HEALTHCHECK", step.rest.partition(" CMD ")[2]))
        case "COPY":
            _copy(step, stage, stages, top)
        case "RUN":
            _run(step, stage)


def _words(step: Step) -> list[str]:
    try:
        words = json.loads(step.rest)
    except ValueError:
        raise StepError(f"{step.word} {step.rest}: write the exec form, a JSON list of words") from None
    return [str(word) for word in words]


def _copy(step: Step, stage: Stage, stages: dict[str, Stage], top: Path) -> None:
    words = shlex.split(step.rest)
    to = stage.root / stage.folder.strip("/") / words[-1].strip("/")
    if words[-1].startswith("/"):
        to = stage.root / words[-1].strip("/")
    if words[0].startswith("--from="):
        source = stages[words[0].removeprefix("--from=")].root / words[1].strip("/")
        shutil.copytree(source, to, symlinks=True)
        return
    for word in words[:-1]:
        files = context_files(top, word)
        if not files:
            raise StepError(f"COPY {word}: there is no such file in the build context")
        for path in files:
            inside = path.relative_to(top / word) if (top / word).is_dir() else Path(path.name)
            target = to if not words[-1].endswith("/") and (top / word).is_file() else to / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _run(step: Step, stage: Stage) -> None:
    given = {name: value for name, value in os.environ.items() if name.startswith(_REGISTRY)}
    given["UV_CACHE_DIR"] = _CACHE
    command = _confined(stage, ["/bin/sh", "-ec", step.rest], writable=True, environment=given)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(f"RUN {step.rest}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")


def start(
    stage: Stage,
    arguments: list[str] | None = None,
    *,
    words: list[str] | None = None,
    environment: dict[str, str] | None = None,
    volumes: tuple[Path, ...] = (),
) -> list[str]:
    """The command line that runs the image's entry point, or ``words``, as an engine would, read-only.

    ``volumes`` are folders of this machine, seen at the same path and writable for whom their mode says.
    """
    said = words if words is not None else [*stage.entrypoint, *(arguments or stage.command)]
    return _confined(stage, said, writable=False, environment=environment or {}, volumes=volumes)


def _confined(
    stage: Stage,
    words: list[str],
    *,
    writable: bool,
    environment: dict[str, str],
    volumes: tuple[Path, ...] = (),
) -> list[str]:
    # The base image has /usr/local/lib among the linker's folders.
    given = {"HOME": "/tmp", "LD_LIBRARY_PATH": "/usr/local/lib", **environment, **stage.environment}
    script = "\n".join(["set -e", *_mounts(stage.root, writable=writable, volumes=volumes)])
    user, _, group = stage.user.partition(":")
    inside = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    if user != "0":
        inside += ["--bounding-set=-all", "--inh-caps=-all"]
    inside += ["env", "-i", f"--chdir={stage.folder}", *(f"{name}={value}" for name, value in given.items())]
    script += "\nexec chroot . " + shlex.join([*inside, *words])
    return ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", script]


def _mounts(root: Path, *, writable: bool, volumes: tuple[Path, ...]) -> list[str]:
    """Shell lines that lay the system folders around a stage's files, and end in its root."""
    here, over = shlex.quote(str(root)), shlex.quote(str(root.parent / f".{root.name}-over"))
    lines = [f"mkdir -p {here}/usr {over}/usr {over}/local {over}/work-usr {over}/work-local"]
    lines += [_overlay("/usr", f"{over}/usr", f"{over}/work-usr", f"{here}/usr", writable=writable)]
    lines += [
        _overlay(
            sys.base_prefix,
            f"{over}/local",
            f"{over}/work-local",
            local := f"{here}/usr/local",
            writable=writable,
        )
    ]
    # The base image's Python has pip and nothing else; what a step installs there stays with its stage.
    inside = PACKAGES.relative_to(sys.base_prefix)
    lines += [
        f"[ -d {over}/site ] || {{ mkdir {over}/site; cp -a {PACKAGES}/pip {PACKAGES}/pip-* {over}/site; }}"
    ]
    lines += [f"mount --bind {over}/site {local}/{inside}"]
    for folder in _SYSTEM:
        lines.append(f"[ ! -e /{folder} ] || [ -e {here}/{folder} ] || cp -a /{folder} {here}/{folder}")
    for path in (*_SETTINGS, *(_REGISTRY_FILES if writable else ())):
        make = (
            f"mkdir -p {here}{path}" if Path(path).is_dir() else f"mkdir -p {here}/etc && : >> {here}{path}"
        )
        lines.append(f"[ ! -e {path} ] || {{ {make}; mount -o bind,ro {path} {here}{path}; }}")
    lines += [f"mkdir -p {here}/proc {here}/dev {here}/tmp", f"mount -t tmpfs -o mode=1777 tmpfs {here}/tmp"]
    lines += [f"mount --rbind /proc {here}/proc", f"mount --rbind /dev {here}/dev"]
    for volume in volumes:
        lines += [f"mkdir -p {here}{volume}", f"mount --bind {volume} {here}{volume}"]
    if writable:
        cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))
        lines += [f"mkdir -p {cache} {here}{_CACHE}", f"mount --bind {cache} {here}{_CACHE}"]
    else:
        # The folder itself turns read-only; what is mounted in it keeps its own mode.
        lines += [f"mount --rbind {here} {here}", f"cd {here}", "mount -o remount,bind,ro ."]
    return [*lines, f"cd {here}"]


def _overlay(lower: str, upper: str, work: str, at: str, *, writable: bool) -> str:
    if writable:
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        return f"mkdir -p {at}; mount -t overlay -o {layers} overlay {at}"
    return f"mount -t overlay -o ro,lowerdir={upper}:{lower} overlay {at}"


def main() -> None:
    """Build one Dockerfile into a folder and run what it starts with the arguments given."""
    dockerfile, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        stage = build(TOP / dockerfile, Path(folder))
        print("entry point", stage.entrypoint, "user", stage.user)
        given = {name: value for name, value in os.environ.items() if "_URL" in name}
        raise SystemExit(
            subprocess.run(start(stage, rest or None, environment=given), check=False).returncode
        )


if __name__ == "__main__":
    main()
