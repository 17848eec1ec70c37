"""Where the API listens: tried before the server starts, so that a fault is one line and exit code 1."""

from __future__ import annotations

import errno
import socket

from docservice.cli.running import fail

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
    tried = (_fault(kind, address) for kind, *_, address in found)
    faults = [one for one in tried if one is not None]
    # A name may also stand for an address of a family that is switched off.
    grave = [one for one in faults if one.errno != errno.EADDRNOTAVAIL]
    if grave or len(faults) == len(found):
        worst = (grave or faults)[0]
        advice = _ADVICE.get(worst.errno or 0, _HOST_ADVICE)
        fail(f"cannot listen on {_named(host, port)}: {worst.strerror}; {advice}", 1)


def _named(host: str, port: int) -> str:
    return listen_url(host, port).removeprefix("http://")


def _fault(family: int, address: object) -> OSError | None:
    """Why no socket can be bound to this address, or None."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # else it would take the place of the one of IPv4
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind(address)  # type: ignore[arg-type]
    except OSError as fault:
        return fault
    return None
