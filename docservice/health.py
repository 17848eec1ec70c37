"""The health check of a container: asks its own API, with the standard library alone.

A container engine runs it every few seconds, so ``docservice healthcheck`` comes here without importing the
service. The port is ``DOCSERVICE_HTTP_PORT``, as for the API.
"""

from __future__ import annotations

import argparse
import http.client
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PORT_VARIABLE = "DOCSERVICE_HTTP_PORT"
DEFAULT_PORT = 8000
_HIGHEST_PORT = 65535


def parse_port(text: str) -> int:
    """Parse a port.

    Raises:
        ValueError: with what is legal.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= _HIGHEST_PORT):
        raise ValueError(f"it must be a port, for instance {DEFAULT_PORT}")
    return int(text[:6])


def ask(port: int, *, ready: bool) -> tuple[bool, str]:
    """Whether the API on this port is healthy, and the body of its answer."""
    # Directly: a proxy from the environment must not be used.
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        peer.request("GET", "/readyz" if ready else "/livez")
        answer = peer.getresponse()
        text = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as fault:
        return False, f"the API does not answer on port {port}: {str(fault) or type(fault).__name__}"
    finally:
        peer.close()
    return answer.status == HTTPStatus.OK, text


def healthcheck(port: str | None, environment: Mapping[str, str], *, ready: bool) -> tuple[int, str]:
    """The exit code and the line to print: 0 healthy, 1 not healthy, 2 invalid port."""
    text = port or environment.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    try:
        number = parse_port(text)
    except ValueError as fault:
        return 2, f"{'--port' if port else PORT_VARIABLE} is {text[:60]!r}; {fault}"
    healthy, line = ask(number, ready=ready)
    return (0 if healthy else 1), line


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"docservice: {message}; see docservice healthcheck --help\n")


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """``--port`` and ``--ready`` from the command line; a wrong one exits with 2."""
    parser = _OneLineParser(prog="docservice healthcheck", allow_abbrev=False)
    parser.add_argument("--port", help=f"[default: {DEFAULT_PORT}] [env: {PORT_VARIABLE}]")
    parser.add_argument("--ready", action="store_true", help="Ask /readyz instead of /livez.")
    return parser.parse_args(words)
