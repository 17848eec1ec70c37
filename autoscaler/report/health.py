"""Asks the daemon of this container for its health, on the standard library alone.

A kubelet gives a probe one second, of which importing Celery would take most: so ``autoscaler healthcheck``
comes here without loading anything else.
"""

from __future__ import annotations

import argparse
import http.client
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A sidecar is scraped from outside its pod.
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104
DEFAULT_LISTEN = f"{ALL_ADDRESSES}:9809"
_LISTEN_VARIABLE = "AUTOSCALER_LISTEN"
_ANY_ADDRESS = {ALL_ADDRESSES: "127.0.0.1", "::": "::1"}
_HIGHEST_PORT = 65535


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port from ``HOST:PORT``; no host means every address.

    Raises:
        ValueError: with what is legal.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= _HIGHEST_PORT):
        raise ValueError(f"it must be HOST:PORT, for instance {DEFAULT_LISTEN}")
    return host.strip("[]") or ALL_ADDRESSES, int(port[:6])


def ask(host: str, port: int, *, ready: bool) -> tuple[bool, str]:
    """Whether the daemon that listens there is well, and its word."""
    # Straight to it: a proxy that the environment names must not stand in between.
    peer = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), port, timeout=3)
    try:
        peer.request("GET", "/readyz" if ready else "/livez")
        answer = peer.getresponse()
        text = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as fault:
        why = str(fault) or type(fault).__name__
        return False, f"the daemon does not answer on {peer.host}:{port}: {why}"
    finally:
        peer.close()
    return answer.status == HTTPStatus.OK, text


def healthcheck(listen: str | None, environment: Mapping[str, str], *, ready: bool) -> tuple[int, str]:
    """The exit code and the line to print: 0 where it is well, 1 where not, 2 where the address is wrong."""
    source = "--listen" if listen else _LISTEN_VARIABLE
    text = listen or environment.get(_LISTEN_VARIABLE) or DEFAULT_LISTEN
    try:
        host, port = parse_listen(text)
    except ValueError as fault:
        return 2, f"{source} is {text[:60]!r}; {fault}"
    well, word = ask(host, port, ready=ready)
    return (0 if well else 1), word


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """``--listen`` and ``--ready`` from the command line; a wrong one exits with 2."""
    parser = argparse.ArgumentParser(prog="autoscaler healthcheck", allow_abbrev=False)
    parser.add_argument("--listen", help=f"HOST:PORT [default: {DEFAULT_LISTEN}] [env: {_LISTEN_VARIABLE}]")
    parser.add_argument("--ready", action="store_true", help="Ask /readyz instead of /livez.")
    return parser.parse_args(words)
