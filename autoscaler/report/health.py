"""Asks the daemon of this container for its health, on the standard library alone.

A kubelet gives a probe one second, of which importing Celery would take most: so ``autoscaler healthcheck``
comes here without loading anything else.
"""

from __future__ import annotations

import http.client
from http import HTTPStatus

#: A sidecar is scraped from outside its pod.
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104
DEFAULT_LISTEN = f"{ALL_ADDRESSES}:9809"
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
    """Whether the daemon that listens there is healthy, and what it answers."""
    # Directly: a proxy that the environment names must not be used.
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
