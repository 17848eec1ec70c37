"""The document service as the demo uses it: its commands as processes, its HTTP API, and none of its code.

This is all that the autoscaler knows of documents, and only the demo uses it.
"""

from __future__ import annotations

import csv
import json
import secrets
import sys
import urllib.error
import urllib.request
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from autoscaler.demo.embedded import EmbeddedError, Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MODULE = "mail"
_COMMAND = (sys.executable, "-m", "docservice")
#: Variables that are settings of what runs here: the demo has its own, whatever the caller's are.
SETTINGS = ("AUTOSCALER_", "CELERY_", "DOCSERVICE_", "REDIS_URL", "DATABASE_URL", "PG")


class DocumentService:
    """The commands and pages of one service; ``folder`` holds its logs, samples and documents.

    Each method that starts a process returns it at once; the caller ends it.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._token = ""
        self._begun = False  # whether a document was uploaded, which begins the module
        self.url = f"http://127.0.0.1:{self._port}"
        self.environment: dict[str, str] = {
            "DOCSERVICE_BLOB_URL": f"file://{folder}/blobs",
            "DOCSERVICE_DOCS": "open",
            "TMPDIR": str(folder),  # a worker that is cut short leaves what multiprocessing put there
        }

    def samples(self, *, mails: int, pdfs: int, pages: int) -> Process:
        """Write mails, each with a PDF attached, and PDFs into :attr:`sample_folder`."""
        counts = {"--mails": mails, "--pdfs": pdfs, "--pages": pages}
        words = [word for flag, count in counts.items() for word in (flag, str(count))]
        return self._start("samples", *words, self.sample_folder)

    def migrate(self) -> Process:
        """Make the schema."""
        return self._start("migrate")

    def make_token(self) -> Process:
        """Make a token for everything; :meth:`token` reads it."""
        return self._start("token", "create", "--name", "demo", "--role", "system_admin", log="token")

    def api(self) -> Process:
        """Serve :attr:`url`."""
        return self._start("api", "--port", str(self._port))

    def worker(self, name: str) -> Process:
        """A worker with one process, which loads the companion by itself."""
        return self._start("worker", "-c", "1", "-n", name, "--without-mingle")

    def _start(self, command: str, *words: str | Path, log: str | None = None) -> Process:
        return Process(
            (*_COMMAND, command, *words),
            log_path=self._folder / f"{log or command}.log",
            environment=self.environment,
            without=SETTINGS,
            working_folder=self._folder,
            stop_within_seconds=5,  # what it holds is made up, and goes with it
        )

    @property
    def sample_folder(self) -> Path:
        """Where the samples are."""
        return self._folder / "samples"

    def token(self) -> str:
        """The token, once it is made."""
        if not self._token:
            self._token = (self._folder / "token.log").read_text().splitlines()[-1]
        return self._token

    def answers(self) -> bool:
        """Whether the API does."""
        try:
            with urllib.request.urlopen(f"{self.url}/livez", timeout=2):  # noqa: S310 - our own
                return True
        except OSError:
            return False

    def upload(self, paths: Sequence[Path]) -> int:
        """Upload some files in one request and return how many were accepted.

        Raises:
            EmbeddedError: with the service's own message, where it refuses them.
        """
        boundary = secrets.token_hex(16)
        body = b"".join(_part(boundary, path) for path in paths) + f"--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = json.loads(self._ask(f"/modules/{MODULE}/documents", body, kind))
        self._begun = True
        return len(answer["data"]["documents"])

    def page(self, filters: Mapping[str, str], *, limit: int) -> dict[str, Any]:
        """One page of the grid: ``rows``, ``total`` and more; raises as :meth:`upload`.

        Before the first document there is no module, and no row.
        """
        if not self._begun:
            return {"rows": [], "total": 0}
        found: dict[str, Any] = json.loads(self._ask(grid_path(filters, limit=limit)))["data"]
        return found

    def seconds_to_processed(self) -> list[float]:
        """From the arrival of each document until it was read, in order; raises as :meth:`upload`."""
        export = self._ask(f"/modules/{MODULE}/grid.csv?state=processed").decode()
        return sorted(
            (
                datetime.fromisoformat(row["processed_at"]) - datetime.fromisoformat(row["received_at"])
            ).total_seconds()
            for row in csv.DictReader(export.splitlines())
        )

    def read_twice(self) -> int:
        """How many documents the worker read more than once, by its log."""
        lines = (self._folder / "worker.log").read_text(errors="replace").splitlines()
        events = [json.loads(line) for line in lines if '"document.processed"' in line]
        return sum(count > 1 for count in Counter(event["document"] for event in events).values())

    def _ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        given = {"Authorization": f"Bearer {self.token()}", **(headers or {})}
        request = urllib.request.Request(self.url + path, data=body, headers=given)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
                found: bytes = answer.read()
        except urllib.error.HTTPError as fault:
            raise EmbeddedError(f"docservice refused {path}: {fault.read().decode()[:500]}") from fault
        except OSError as fault:
            raise EmbeddedError(f"docservice does not answer {path}: {fault}") from fault
        return found


def grid_path(filters: Mapping[str, str], *, limit: int) -> str:
    """The path of a page."""
    return f"/modules/{MODULE}/grid?{urlencode({**filters, 'limit': limit})}"


def _part(boundary: str, path: Path) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    return head.encode() + path.read_bytes() + b"\r\n"
