"""Work in a child process, which sends what it finds one by one: a crash costs the rest of it alone.

Native code that reads a hostile file may crash, loop or be told by the memory limit to abort. The child is a
fork of this process, so that nothing is imported again and the memory limit holds for it too. It keeps no
other open file, ends with its parent, and sends lines of JSON: nothing that it sends can run here.

A fork of a process with threads is safe for what is done in it: no lock of the other threads is needed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OUT_OF_MEMORY = 77
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
#: They reach a whole group of processes, such as Ctrl-C. The parent decides, and ends its child.
_MEANT_FOR_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_READ_BYTES = 64 * 1024
_MAX_LINE_BYTES = 32 * 2**20


class Crashed(RuntimeError):  # noqa: N818 - what happened to the child, not a fault of the caller
    """The child ended before its work did; the text says how, such as ``SIGSEGV``."""


class Killed(RuntimeError):  # noqa: N818 - as above
    """The child was killed from outside, as by the OOM killer: nothing is said about what it read."""


class Child:
    """The process that does the work, and what it sends."""

    def __init__(self, pid: int, read_end: int) -> None:
        self._pid = pid
        self._read_end = read_end
        self._line = bytearray()
        self._waits = select.poll()
        self._waits.register(read_end, select.POLLIN)

    def receive(self, goes_on: Callable[[], bool], every_seconds: float = 0.2) -> Iterator[Any]:
        """What the child sends, until its work is done or ``goes_on``, asked again and again, is False.

        Raises:
            Crashed: when the child ends before its work is done.
            Killed: when another ends it.
            MemoryError: when the work needed more memory than it may have.
        """
        while goes_on():
            if not self._waits.poll(every_seconds * 1000):
                continue
            piece = os.read(self._read_end, _READ_BYTES)
            if not piece:
                self._check_end()
                return
            start, *others = piece.split(b"\n")
            self._line += start
            for following in others:
                yield json.loads(self._line)
                self._line = bytearray(following)
            if len(self._line) > _MAX_LINE_BYTES:
                raise Crashed("it sent a line without end")

    def _check_end(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code == _OUT_OF_MEMORY:
            raise MemoryError
        if code == -signal.SIGKILL:
            raise Killed("the process that read it was killed, as for want of memory")
        if code < 0:
            raise Crashed(signal.Signals(-code).name)
        if code:
            raise Crashed(f"exit code {code}")

    def end(self) -> None:
        """End the child, whatever it does."""
        os.close(self._read_end)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


@contextmanager
def in_child(work: Callable[[], Iterator[Any]]) -> Iterator[Child]:
    """A child that does ``work`` and sends each item, which must be fit for JSON. It ends with the block."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, see above
        pid = os.fork()
    if pid == 0:
        _work_and_exit(work, write_end)
    child = Child(pid, read_end)
    try:
        os.close(write_end)
        yield child
    finally:
        child.end()


def _work_and_exit(work: Callable[[], Iterator[Any]], write_end: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number in _MEANT_FOR_THE_PARENT:
            signal.signal(number, signal.SIG_IGN)
        gc.freeze()  # a collection would touch, and so copy, all that the child has from its parent
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.closerange(3, write_end)
        os.closerange(write_end + 1, os.sysconf("SC_OPEN_MAX"))
        with os.fdopen(write_end, "wb") as pipe:
            for item in work():
                pipe.write(json.dumps(item).encode() + b"\n")
                pipe.flush()
        code = 0
    except MemoryError:
        code = _OUT_OF_MEMORY
    finally:
        os._exit(code)
