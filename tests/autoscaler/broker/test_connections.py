"""One URL for Redis: what it may be, what it never shows, and what it reaches (TLS, Sentinel)."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import socketserver
import subprocess
import threading
import time
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Connection
from kombu.pidbox import Mailbox
from prometheus_client import generate_latest
from redis.exceptions import RedisError

from autoscaler.broker.connections import Connections, Redactor, RedisTuning, kombu_options, redis_client
from autoscaler.broker.errors import BrokerError, broker_errors
from autoscaler.broker.mailboxes import MAILBOXES_KEY
from autoscaler.broker.url import parse_redis_url
from autoscaler.cli.compose import compose
from autoscaler.control.remote import Remote
from autoscaler.demo.embedded import Process, RedisServer, free_port, wait_until
from autoscaler.settings import load as config
from tests.support.cluster import Cluster
from tests.support.programs import needs
from tests.support.urls import passwords, spellings
from tests.support.worker_replies import REPORT

DEBIAN = shutil.which("redis-server")
needs_debian = needs("redis-server", "openssl")


def test_both_clients_are_made_from_the_same_value():
    tuning = RedisTuning(socket_timeout_seconds=4, connect_timeout_seconds=1, client_name="me")
    found = kombu_options(parse_redis_url("rediss://u:p%2F@[::1]:7/3?ssl_ca_certs=/ca"), tuning, "pre:")
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca", "ssl_check_hostname": True}
    assert found == {
        "hostname": "redis://u:p%2F@[::1]:7/3",
        "connect_timeout": 1,
        "ssl": tls,
        "transport_options": {
            "socket_timeout": 4,
            "socket_connect_timeout": 1,
            "client_name": "me",
            "global_keyprefix": "pre:",
            "sep": "\x06\x16",
            "socket_keepalive": False,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
        },
    }
    with redis_client(parse_redis_url("rediss://u:p%2F@[::1]:7/3?ssl_ca_certs=/ca"), tuning) as client:
        asked = client.connection_pool.connection_kwargs
        expected = {
            "host": "::1",
            "port": 7,
            "db": 3,
            "username": "u",
            "password": "p/",
            "socket_timeout": 4,
            "socket_connect_timeout": 1,
            "client_name": "me",
            **tls,
        }
        assert {name: asked[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"socket_timeout": 4, "socket_connect_timeout": 2, "socket_keepalive": False}),
        pytest.param(
            "?socket_timeout=60&socket_connect_timeout=60", {"socket_timeout": 4}, id="never longer"
        ),
        pytest.param("?socket_timeout=2", {"socket_timeout": 2}, id="shorter"),
        pytest.param("?socket_timeout=0.1", {"socket_timeout": 1.5}, id="not shorter than a blocking read"),
        pytest.param("?socket_connect_timeout=0", {"socket_connect_timeout": 2}, id="0 is no timeout"),
        ("?socket_keepalive=true", {"socket_keepalive": True}),
        ("?health_check_interval=7", {"health_check_interval": 7}),
    ],
)
def test_options_that_other_clients_carry_in_the_url_are_honoured_where_they_apply(query, expected):
    parsed, tuning = parse_redis_url(f"redis://h{query}"), RedisTuning(socket_timeout_seconds=4)
    with redis_client(parsed, tuning) as client:
        found = client.connection_pool.connection_kwargs
        assert {name: found[name] for name in expected} == expected
    transport = kombu_options(parsed, tuning, "")["transport_options"]
    assert {name: transport[name] for name in expected.keys() & transport.keys()} == {
        name: value for name, value in expected.items() if name in transport
    }


def spoken(secret: str, text: str) -> bool:
    """Whether a text shows a secret, as it is or as JSON writes it."""
    return secret in text or json.dumps(secret)[1:-1] in text or repr(secret)[1:-1] in text


@given(passwords, st.sampled_from(["redis", "rediss", "valkey", "valkeys"]))
def test_a_password_is_read_as_it_was_written_and_shown_nowhere(password, scheme):
    found = parse_redis_url(f"{scheme}://:{quote(password, safe='')}@h")
    assert found.password == password
    assert not spoken(password, f"{found} {found!r}")
    redact = Redactor()
    redact.add(found.secrets)
    broker = str(kombu_options(found, RedisTuning(), ""))
    assert not spoken(password, redact(broker))
    assert quote(password, safe="") not in redact(broker)


@pytest.mark.parametrize(
    ("query", "expected"), [("", 10), ("?max_connections=5", 5), ("?max_connections=1", 2)]
)
def test_a_number_of_connections_in_the_url_narrows_that_of_the_daemon(query, expected):
    with redis_client(parse_redis_url(f"redis://h{query}"), RedisTuning()) as client:
        assert client.connection_pool.max_connections == expected


def test_the_login_of_the_sentinels_is_theirs_alone_and_secret():
    parsed = parse_redis_url("sentinel://:pw@h?master=m&sentinel_username=watch&sentinel_password=d%2Fog")
    options = kombu_options(parsed, RedisTuning(), "")["transport_options"]
    asked = options["sentinel_kwargs"]
    assert (asked["username"], asked["password"], parsed.password) == ("watch", "d/og", "pw")
    redactor = Redactor()
    redactor.add(parsed.secrets)
    assert redactor("d/og d%2Fog pw") == "*** *** ***"
    assert "d/og" not in f"{parsed!r}{parsed}"


class Echo(socketserver.StreamRequestHandler):
    """A server that answers every command with an error that repeats it, as some proxies do."""

    def handle(self):
        with contextlib.suppress(OSError):
            while said := self.request.recv(65536):
                words = said.replace(b"\r\n", b" ").replace(b"\r", b" ").replace(b"\n", b" ")
                self.wfile.write(b"-ERR no: " + words + b"\r\n")


@pytest.fixture(scope="module")
def echo():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@settings(max_examples=25)
@given(passwords, spellings)
def test_a_password_shows_in_no_setting_log_line_status_or_metric(echo, password, spelling):
    text = f"redis://:{spelling(password)}@127.0.0.1:{echo}/0"
    secret = parse_redis_url(text).password
    found = config.load({"worker": ("a@h",), "redis_url": text}, {})
    with contextlib.redirect_stderr(io.StringIO()) as log:
        app = compose(found)
        record = app.controller.tick()
        app.controller.tick()
        app.log.info("url", url=text, options=app.connections.kombu(), client=app.connections.redis())
        app.connections.reset()
    metrics = generate_latest(app.metrics.registry).decode()
    status = app.controller.status()
    outputs = [repr(found), log.getvalue(), json.dumps(status), str(status), metrics, str(record.faults)]
    assert [part for part in outputs if spoken(secret, part)] == []
    assert "***" in record.faults["backlog"]


def test_a_rotated_password_is_read_after_a_reset_and_the_old_one_stays_secret():
    urls = iter(["redis://:old-word@h", "redis://:new-word@h"])
    redactor = Redactor()
    connections = Connections(lambda: next(urls), RedisTuning(), redactor)
    first = connections.redis()
    assert connections.redis() is first
    connections.reset()
    assert connections.redis() is not first
    assert redactor("old-word new-word") == "*** ***"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("redis://:half-a-pass", id="half-written"),
        pytest.param("rediss", id="barely begun"),
    ],
)
def test_a_file_of_the_url_that_is_half_written_is_a_broker_error_and_no_end(text, tmp_path):
    path = tmp_path / "url"
    path.write_text(text)
    connections = Connections(path.read_text, RedisTuning(), Redactor())
    for use in (connections.redis, connections.kombu, connections.url):
        with pytest.raises(BrokerError, match="Redis URL"):
            use()
    path.write_text("redis://h")
    assert connections.redis() is not None
    connections.reset()
    path.unlink()
    with pytest.raises(BrokerError, match="FileNotFoundError"):
        connections.redis()


def certify(folder, name, *names):
    """A key and a certificate that is its own authority."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    words = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    about = ("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(names)}")
    subprocess.run(
        ("openssl", *words, *about, "-keyout", key, "-out", certificate), check=True, capture_output=True
    )
    return str(key), str(certificate)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Two servers over TLS, one whose certificate is for another host, and a worker on the first."""
    folder = tmp_path_factory.mktemp("tls")
    with ExitStack() as stack:
        found = {}
        for name, names in (("here", ("IP:127.0.0.1",)), ("elsewhere", ("DNS:elsewhere.example",))):
            key, certificate = certify(folder, name, *names)
            port = free_port()
            options = ("--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key)
            server = RedisServer(
                folder / name,
                binary=DEBIAN,
                options=(*options, "--tls-auth-clients", "no", "--requirepass", "p@ss/word"),
            )
            stack.enter_context(server)
            found[name] = (port, certificate)
            if name == "here":
                plain = server.url.replace("redis://", "redis://:p%40ss%2Fword@")
                Cluster(folder=folder, stack=stack, server=server).worker("t@h", "--pool", "solo", url=plain)
        yield found


BOUNDED = RedisTuning(socket_timeout_seconds=2.0, connect_timeout_seconds=1.0)


def both(text):
    """What each client makes of a URL: PING by redis-py, a ping to the worker by kombu."""
    parsed, found = parse_redis_url(text), []
    with redis_client(parsed, BOUNDED) as client:
        try:
            with broker_errors():
                found.append(client.ping())
        except BrokerError as fault:
            found.append(str(fault))
    remote = Remote(lambda: Connection(**kombu_options(parsed, BOUNDED, "")), timeout_seconds=5)
    try:
        found.append(remote.call("ping", {}, ["t@h"]))
    except BrokerError as fault:
        found.append(str(fault))
    return found


PONG = [True, {"t@h": [{"ok": "pong"}]}]
REFUSED = "TLS: the server's certificate is refused: "
UNTRUSTED = [f"{REFUSED}self-signed certificate"] * 2
OTHER_NAME = [
    f"{REFUSED}IP address mismatch, certificate is not valid for '127.0.0.1'",
] * 2


@needs_debian
@pytest.mark.parametrize(
    ("server", "options", "expected"),
    [
        pytest.param("here", "?ssl_ca_certs={}", PONG, id="required is the default: a known authority"),
        pytest.param("here", "", UNTRUSTED, id="required is the default: an unknown authority"),
        pytest.param("here", "?ssl_cert_reqs=none", PONG, id="none: anybody"),
        pytest.param("elsewhere", "?ssl_ca_certs={}", OTHER_NAME, id="required: the name is another host's"),
    ],
)
def test_tls_checks_the_server_on_both_clients(secured, server, options, expected):
    port, certificate = secured[server]
    login = quote("p@ss/word", safe="")
    assert both(f"rediss://:{login}@127.0.0.1:{port}/0{options.format(certificate)}") == expected


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A master with a password, a worker on it, and a Sentinel that knows it; gives its process."""
    folder = tmp_path_factory.mktemp("sentinel")
    with ExitStack() as stack:
        server = RedisServer(folder / "master", binary=DEBIAN, options=("--requirepass", "s3cret"))
        stack.enter_context(server)
        port = free_port()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor main 127.0.0.1 {server.port} 1\nsentinel auth-pass main s3cret\n"
        )
        process = stack.enter_context(
            Process((DEBIAN, configuration, "--sentinel"), log_path=folder / "sentinel.log")
        )
        with redis.Redis(port=port, socket_timeout=1) as asked:
            process.wait_until(lambda: knows(asked), within_seconds=20, what="the Sentinel's answer")
        plain = server.url.replace("redis://", "redis://:s3cret@")
        Cluster(folder=folder, stack=stack, server=server).worker("t@h", "--pool", "solo", url=plain)
        yield port, process, server


def knows(asked):
    try:
        return asked.sentinel_masters()["main"]["num-slaves"] == 0
    except RedisError:
        return False


@needs_debian
def test_sentinel_finds_the_master_for_both_clients_also_when_the_first_is_gone(watched):
    port, _, _ = watched
    assert both(f"sentinel://:s3cret@127.0.0.1:{free_port()},127.0.0.1:{port}/0?master=main") == PONG


@needs_debian
def test_a_master_that_sentinel_does_not_know_is_reported(watched):
    port, _, _ = watched
    found = both(f"sentinel://:s3cret@127.0.0.1:{port}/0?master=other")
    assert found == ["Sentinel: the Sentinels know no reachable master 'other'"] * 2


@pytest.mark.slow
@needs_debian
def test_a_sentinel_that_does_not_answer_costs_a_bounded_time(watched):
    port, process, _ = watched
    process.send(signal.SIGSTOP)
    try:
        started = time.monotonic()
        found = both(f"sentinel://:s3cret@127.0.0.1:{port}/0?master=main")
        seconds = time.monotonic() - started
    finally:
        process.send(signal.SIGCONT)
    assert found == ["Sentinel: none of the Sentinels answers, so the master 'main' is not known"] * 2
    assert seconds < 4 * BOUNDED.socket_timeout_seconds
    wait_until(
        lambda: both(f"sentinel://:s3cret@127.0.0.1:{port}/0?master=main") == PONG,
        within_seconds=30,
        what="the recovery",
    )


@needs_debian
def test_sentinels_with_a_login_of_their_own_are_asked_with_it(watched):
    port, _, _ = watched
    url = f"sentinel://:s3cret@127.0.0.1:{port}/0?master=main"
    with redis.Redis(port=port) as sentinel:
        sentinel.execute_command("ACL", "SETUSER", "watch", "on", ">d=og", "+@all", "allchannels")
        sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">w=ord")
        try:
            refused = "Sentinel: it refuses the login, so the master 'main' is not known"
            assert both(url) == [refused] * 2
            assert both(f"{url}&sentinel_password=w%3Dord") == PONG
            assert both(f"{url}&sentinel_username=watch&sentinel_password=d%3Dog") == PONG
        finally:
            sentinel.execute_command("ACL", "SETUSER", "default", "nopass")


@contextlib.contextmanager
def old_worker(url, name):
    """Answers where a worker of kombu below 5.4 listens on Sentinel: at the prefix as it is written."""
    with redis.Redis.from_url(url) as client, client.pubsub() as listening, Connection(url) as connection:
        box = Mailbox("celery", type="fanout", connection=connection, accept=["json"], serializer="json")
        handlers = {"ping": lambda _: {"ok": "pong"}, "pool_report": lambda _: REPORT}
        node = box.Node(name, channel=connection.default_channel, handlers=handlers)
        client.sadd(MAILBOXES_KEY, f"\x06\x16\x06\x16{name}.celery.pidbox")
        listening.psubscribe("/{db}.celery.pidbox")

        def answer():
            while not ended.is_set():
                found = listening.get_message(timeout=0.1)
                if found and found["type"] == "pmessage":
                    message = connection.default_channel.message_to_python(json.loads(found["data"]))
                    node.handle_message(message.decode(), message)

        ended = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.mark.slow
@needs_debian
def test_a_fleet_on_sentinel_with_workers_of_an_old_and_a_new_kombu_is_reached_as_a_whole(watched):
    port, _, server = watched
    url = f"sentinel://:s3cret@127.0.0.1:{port}/0?master=main"
    with old_worker(server.url.replace("redis://", "redis://:s3cret@"), "old@h"):
        app = compose(config.load({"redis_url": url}, {}), single_look=True)
        record = app.controller.look()
        assert [one.name for one in record.observation.workers] == ["old@h", "t@h"]
        assert (record.duplicates, record.unresponsive) == ((), ())
        assert [str(one) for one in app.addresses.current] == [
            "control_exchange='celery' and sentinel_fanout_compat=True"
        ]


def test_a_secret_that_json_would_escape_is_found_in_a_text_that_is_json():
    redact = Redactor()
    redact.add(['pw"\\é'])
    for ascii_only in (True, False):
        text = json.dumps({"why": 'bad pw"\\é here'}, ensure_ascii=ascii_only)
        assert json.loads(redact(text)) == {"why": "bad *** here"}


def test_a_password_of_azure_that_ends_in_an_equals_sign_opens_both_connections(tmp_path):
    password = "Zm9vYmFyCg1BQk9V0k4f0tYzCaC0Jzg="
    with (
        RedisServer(tmp_path / "redis", options=("--requirepass", password)) as server,
        ExitStack() as stack,
    ):
        url = server.url.replace("redis://", f"redis://:{password}@")
        plain = server.url.replace("redis://", f"redis://:{quote(password, safe='')}@")
        cluster = Cluster(folder=tmp_path, stack=stack, server=server)
        cluster.worker("t@h", "--pool", "solo", url=url, LEDGER=plain)
        assert both(url) == both(plain) == [True, {"t@h": [{"ok": "pong"}]}]
