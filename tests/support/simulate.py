"""Commands of the back-test run in this process, and a Prometheus server whose answers a test writes."""

from __future__ import annotations

import contextlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner

from autoscaler.settings.table import PARAMETERS
from autoscaler.simulation.prometheus import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click import Command
    from click.testing import Result


#: A proxy or a setting of the machine must not reach the command.
CLEAN = {
    "NO_PROXY": "*",
    "AUTOSCALER_TARGET_WAIT": None,
    **{parameter.variable: None for parameter in PARAMETERS},
}
TASKS = "offset_s,service_s\n0,1\n0.5,1\n0.5,2\n30,1\n"


def run(command: Command, *words: object, **environment: str) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], env={**CLEAN, **environment})


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


Answer = tuple[int, bytes]
START = 1_700_000_000.0


def matrix(*series: tuple[dict[str, str], dict[float, object]]) -> Answer:
    result = [
        {"metric": labels, "values": [[at, str(value)] for at, value in values.items()]}
        for labels, values in series
    ]
    return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


@contextmanager
def prometheus(answer: Callable[[dict[str, str]], Answer]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers range queries; its address and what it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            query |= {"path": parts.path, "authorization": self.headers.get("Authorization", "")}
            asked.append(query)
            code, body = answer(query)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(OSError):  # who waited may have gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def steady(query: dict[str, str]) -> Answer:
    """Two tasks a second of 3 s each, for 5 minutes; one step is missing and one is not a number."""
    if SERVICE in query["query"]:
        return matrix(({"queues": "celery"}, {START + 60: 3.0}))
    rates: dict[float, object] = {START + 30 * step: 2.0 for step in range(11) if step != 4}
    return matrix(({"queues": "celery"}, {**rates, START + 150: "NaN"}))
