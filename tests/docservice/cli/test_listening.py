"""An address that cannot be listened on, and how an address is shown."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from docservice.cli.listening import bind_fault, listen_url, require_bindable
from docservice.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST_ADVICE = (
    "give an address of this machine with --host or DOCSERVICE_HOST, such as 127.0.0.1 or 0.0.0.0 for all"
)
#: No kernel has so many.
NO_FAMILY = (255, ("x", 0))
HERE = (socket.AF_INET, ("127.0.0.1", 0))
IN_USE = "Address already in use; end what listens there, or give another --port or DOCSERVICE_HTTP_PORT"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 on which another listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_in_use_ends_the_start_of_the_api_in_one_line(
    processes: str, taken: int, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}/blobs",
    }
    words = ["api", "--port", str(taken), "--workers", processes]
    done = CliRunner(env=environment).invoke(main, words)
    assert (done.exit_code, done.stderr) == (
        1,
        f"docservice: cannot listen on 127.0.0.1:{taken}: {IN_USE}\n",
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("203.0.113.1", f"203.0.113.1:8000: Cannot assign requested address; {HOST_ADVICE}"),
        ("2001:db8::1", f"[2001:db8::1]:8000: Cannot assign requested address; {HOST_ADVICE}"),
        ("a" * 70, f"{'a' * 70}:8000: not a host name; {HOST_ADVICE}"),
    ],
)
def test_a_host_that_is_none_of_this_machine_is_named(
    host: str, line: str, capsys: pytest.CaptureFixture[str], *, shared: bool
) -> None:
    with pytest.raises(SystemExit, match="1"):
        require_bindable(host, 8000, shared=shared)
    assert capsys.readouterr().err == f"docservice: cannot listen on {line}\n"


def test_a_host_whose_name_is_not_found_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(socket.gaierror) as unknown:  # without a resolver it is another fault
        socket.getaddrinfo("nowhere.invalid", 8000)
    with pytest.raises(SystemExit, match="1"):
        require_bindable("nowhere.invalid", 8000, shared=False)
    line = f"nowhere.invalid:8000: {unknown.value.strerror}; {HOST_ADVICE}"
    assert capsys.readouterr().err == f"docservice: cannot listen on {line}\n"


def test_a_name_is_refused_where_one_of_its_addresses_is_and_a_family_that_there_is_not_is_left_out() -> None:
    elsewhere = (socket.AF_INET, ("203.0.113.1", 0))
    for addresses, why in (
        ([HERE, NO_FAMILY], None),
        ([HERE, elsewhere], errno.EADDRNOTAVAIL),
        ([NO_FAMILY, elsewhere], errno.EADDRNOTAVAIL),
        ([NO_FAMILY], errno.EAFNOSUPPORT),
    ):
        fault = bind_fault(addresses)
        assert (fault and fault.errno) == why, addresses


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", ""])
def test_a_port_that_is_taken_on_one_address_is_taken_for_all(
    host: str, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        require_bindable(host, taken, shared=False)
    assert capsys.readouterr().err == f"docservice: cannot listen on {host}:{taken}: {IN_USE}\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "0.0.0.0"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_free_port_passes_and_stays_free(host: str, *, shared: bool) -> None:
    require_bindable(host, 0, shared=shared)
    with socket.socket() as held:  # bound and not listened on: nobody else is given the port meanwhile
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        require_bindable(host, port, shared=shared)
        require_bindable(host, port, shared=shared)


def test_an_address_is_shown_as_a_url() -> None:
    assert [listen_url(*one) for one in [("127.0.0.1", 8000), ("::1", 8000), ("0.0.0.0", 0)]] == [
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://0.0.0.0, a free port",
    ]
