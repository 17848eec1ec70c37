"""What real servers that refuse to serve answer, and what we say to do about it."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import redis

from autoscaler.broker.connections import Connections, Redactor, RedisTuning
from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.control.remote import Remote
from autoscaler.demo.embedded import RedisServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def connections(url: str) -> Connections:
    return Connections(lambda: url, RedisTuning(), Redactor())


def by_redis(url: str) -> None:
    with broker_errors():
        connections(url).redis().set("key", "value")


def by_kombu(url: str) -> None:
    Remote(connections(url).kombu, timeout_seconds=1).call("ping", {}, ["w1@h"])


def said(use: Callable[[str], None], url: str) -> tuple[str, bool]:
    """What a user of the server is told, without the name of the client's exception."""
    with pytest.raises(BrokerError) as raised:
        use(url)
    return raised.value.with_advice().partition(": ")[2], raised.value.permanent


REPLICA = "the server is a replica; point the URL at the primary"


@pytest.mark.parametrize("use", [by_redis, by_kombu])
@pytest.mark.parametrize(
    ("options", "line", "permanent"),
    [
        pytest.param(
            ("--requirepass", "hush"),
            "Authentication required."
            " The server wants a login: give it in the URL, as USER:PASSWORD@HOST or :PASSWORD@HOST",
            True,
            id="a password",
        ),
        pytest.param(
            ("--databases", "4"),
            "DB index is out of range; give the number of Celery's database at the end of the URL;"
            " the server has no such database",
            True,
            id="no such database",
        ),
        pytest.param(
            ("--replicaof", "127.0.0.1 1"),
            f"You can't write against a read only replica. T{REPLICA[1:]}",
            False,
            id="a replica",
        ),
        pytest.param(
            ("--maxmemory", "1mb"),
            "command not allowed when used memory > 'maxmemory'."
            " The server is full: raise its maxmemory, or delete a queue that nobody needs",
            False,
            id="full",
        ),
        pytest.param(
            ("--min-replicas-to-write", "1"),
            "NOREPLICAS Not enough good replicas to write."
            " The server takes no writes without its replicas (min-replicas-to-write): are they up?",
            False,
            id="without replicas",
        ),
    ],
)
def test_a_server_that_refuses_is_one_line_with_what_to_do(
    tmp_path: Path, use: Callable[[str], None], options: tuple[str, ...], line: str, *, permanent: bool
) -> None:
    with RedisServer(tmp_path / "redis", options=options) as server:
        database = "/7" if "--databases" in options else "/0"
        assert said(use, server.url.replace("/0", database)) == (line, permanent)


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_a_login_that_is_wrong_is_one_line_with_what_to_do(
    tmp_path: Path, use: Callable[[str], None]
) -> None:
    with RedisServer(tmp_path / "redis", options=("--requirepass", "hush")) as server:
        assert said(use, server.url.replace("//", "//:wrong@")) == (
            (
                "invalid username-password pair or user is disabled."
                " Correct USER:PASSWORD@HOST in the URL; special characters in it are written as %40 for @"
            ),
            True,
        )


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_a_replica_without_its_primary_is_no_cluster(tmp_path: Path, use: Callable[[str], None]) -> None:
    options = ("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")
    with RedisServer(tmp_path / "redis", options=options) as server:
        line, permanent = said(use, server.url)
        assert "Redis Cluster" not in line
        assert (line.endswith("point the URL at the primary"), permanent) == (True, False)


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_of_a_long_answer_the_first_sentence_is_said(tmp_path: Path, use: Callable[[str], None]) -> None:
    with RedisServer(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        client.config_set("save", "3600 1")
        (tmp_path / "redis" / "dump.rdb").mkdir()  # in the way of the snapshot
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            within_seconds=20,
            what="the snapshot's failure",
        )
        assert said(use, server.url) == (
            (
                "MISCONF Valkey is configured to save RDB snapshots,"
                " but it's currently unable to persist to disk."
                " The server cannot save its data and takes no writes: its log says why; is its disk full?"
            ),
            False,
        )
        client.config_set("save", "")  # else it does not end when told, without its snapshot


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_a_server_with_all_the_clients_that_it_takes(tmp_path: Path, use: Callable[[str], None]) -> None:
    with (
        RedisServer(tmp_path / "redis", options=("--maxclients", "1")) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        client.ping()
        assert said(use, server.url) == (
            (
                "max number of clients reached;"
                " raise the server's maxclients, or end clients that it does not need"
            ),
            False,
        )


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_a_server_that_loads_its_data(tmp_path: Path, use: Callable[[str], None]) -> None:
    with (
        RedisServer(tmp_path / "redis") as server,
        redis.Redis.from_url(server.url) as client,
        client.pipeline() as pipeline,
    ):
        for number in range(20_000):
            pipeline.set(f"key {number}", "value" * 20)
        pipeline.execute()
        client.save()
    slowly = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    with Loading(tmp_path / "redis", port=server.port, options=slowly):
        assert said(use, server.url) == (
            (
                "Valkey is loading the dataset in memory;"
                " the server has just started; it answers once its data are loaded"
            ),
            False,
        )


class Loading(RedisServer):
    """A server that is up as soon as it says that it loads."""

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(b"PING\r\n")
                return peer.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


@pytest.mark.parametrize("use", [by_redis, by_kombu])
def test_a_port_of_something_else(use: Callable[[str], None]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def greet() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    peer.recv(1024)

        threading.Thread(target=greet, daemon=True).start()
        assert said(use, f"redis://127.0.0.1:{listener.getsockname()[1]}/0") == (
            (
                'Protocol error, got "S" as reply type byte;'
                " what answers there is no Redis server: are host and port of the URL right?"
            ),
            False,
        )
        listener.shutdown(socket.SHUT_RDWR)
