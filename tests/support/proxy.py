"""A TCP proxy on loopback whose link can be made unresponsive, slow or broken."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Self


class Proxy:
    """Forwards to ``port``. ``mode``: ``pass``, ``silent`` (nothing comes back), ``reset`` or ``slow``."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.mode = "pass"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        for one in list(self._open):
            self._reset(one)

    def _reset(self, one: socket.socket) -> None:
        self._open.discard(one)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "reset":
                self._reset(near)
                continue
            far = socket.create_connection(("127.0.0.1", self.target))
            self._open |= {near, far}
            for source, sink, answer in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink), kwargs={"answer": answer}, daemon=True
                ).start()

    def passed(self, sender: socket.socket, data: bytes, *, answer: bool) -> None:
        """What came from a client, or as an ``answer`` from the server; for those who count."""

    def _pump(self, source: socket.socket, sink: socket.socket, *, answer: bool) -> None:
        try:
            while data := source.recv(65536):
                self.passed(source, data, answer=answer)
                if self.mode == "slow":
                    time.sleep(0.02)  # each way: a round trip takes 40 ms more
                if self.mode == "reset":
                    break
                if self.mode != "silent":
                    sink.sendall(data)
        except OSError:
            pass
        self._reset(source)
        self._reset(sink)
