"""Where the API listens: tried before the server starts, so that a fault is one line and exit code 1."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from docservice.cli.running import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST_ADVICE = (
    "give an address of this machine with --host or DOCSERVICE_HOST, such as 127.0.0.1 or 0.0.0.0 for all"
)
_ADVICE = {
    errno.EADDRINUSE: "end what listens there, or give another --port or DOCSERVICE_HTTP_PORT",
    errno.EACCES: "give a --port or DOCSERVICE_HTTP_PORT of 1024 or more",
}


def listen_url(host: str, port: int) -> str:
    """The URL of an address, for people."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}" if port else f"http://{shown}, a free port"


def require_bindable(host: str, port: int, *, shared: bool) -> None:
    """Fail with one line unless the API can listen there; ``shared`` is for several processes.

    The server binds the address again: whoever takes it in between is reported by the server's own line.
    """
    # As the server chooses: several processes share one socket, one process has one for each address.
    family = (socket.AF_INET6 if ":" in host else socket.AF_INET) if shared else socket.AF_UNSPEC
    try:
        found = socket.getaddrinfo(
            host or None, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "not a host name"
        fail(f"cannot listen on {_named(host, port)}: {why}; {_HOST_ADVICE}", 1)
    refused = bind_fault([(kind, address) for kind, *_, address in found])
    if refused is not None:
        advice = _ADVICE.get(refused.errno or 0, _HOST_ADVICE)
        fail(f"cannot listen on {_named(host, port)}: {refused.strerror}; {advice}", 1)


def _named(host: str, port: int) -> str:
    return listen_url(host, port).removeprefix("http://")


def bind_fault(addresses: Sequence[tuple[int, object]]) -> OSError | None:
    """Why the server cannot listen on all of these families and addresses; None when it can.

    As the server does: a family that this kernel does not have is left out, unless there is no other, and any
    other fault ends the start.
    """
    lacking: list[OSError] = []
    for family, address in addresses:
        try:
            tried = socket.socket(family, socket.SOCK_STREAM)
        except OSError as fault:
            lacking.append(fault)
            continue
        with tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # else it would take the place of the one of IPv4
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                tried.bind(address)  # type: ignore[arg-type]
            except OSError as fault:
                return fault
    return lacking[0] if len(lacking) == len(addresses) else None
