"""Sends many sample mails over the HTTP API, to watch the workers. The standard library alone."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from docservice.dev.samples import sample_mail
from docservice.domain.documents import module_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_BOUNDARY = "docservice-burst"
_CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
_TIMEOUT_SECONDS = 60


class BurstError(RuntimeError):
    """The API did not accept the mails; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Which API, how many mails, and how many in one request."""

    url: str
    module: str
    documents: int
    per_request: int

    def __post_init__(self) -> None:
        module_name(self.module)
        try:
            legal = self.address.scheme in _CONNECTIONS and self.address.hostname and self.address.port != 0
        except ValueError:
            legal = False
        if not legal:
            raise ValueError(f"--url is {self.url[:80]!r}; it must be http://HOST:PORT or https://HOST")

    @property
    def address(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    def batches(self) -> Iterable[range]:
        """The numbers of the mails in each request."""
        for first in range(0, self.documents, self.per_request):
            yield range(first, min(first + self.per_request, self.documents))


def multipart(numbers: Iterable[int]) -> bytes:
    """The body of one request: these sample mails as files."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="mail-{number}.eml"\r\n'
        "Content-Type: message/rfc822\r\n\r\n".encode()
        + sample_mail(number)
        + b"\r\n"
        for number in numbers
    ]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def send_burst(burst: Burst, token: str) -> float:
    """Send all of them, one request after another; returns the seconds it took.

    Raises:
        BurstError: when the API does not answer or refuses a request.
    """
    if not (token.isascii() and token.isprintable()):
        raise BurstError("DOCSERVICE_TOKEN has characters that no token has")
    address = burst.address
    peer = _CONNECTIONS[address.scheme](address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
    }
    path = f"{address.path.rstrip('/')}/modules/{burst.module}/documents"
    begun = time.monotonic()
    try:
        for numbers in burst.batches():
            peer.request("POST", path, multipart(numbers), headers)
            answer = peer.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status != HTTPStatus.ACCEPTED:
                raise BurstError(f"the API answered {answer.status}: {_detail(text)}")
    except (OSError, http.client.HTTPException) as fault:
        why = str(fault) or type(fault).__name__
        raise BurstError(f"no answer from {burst.url} ({why}); does docservice api run there?") from fault
    finally:
        peer.close()
    return time.monotonic() - begun


def _detail(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["detail"])
    except (ValueError, LookupError, TypeError):
        return text[:200]
