"""Settings are refused before anything starts, in one line with nothing secret in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner
from hypothesis import assume, example, given
from hypothesis import strategies as st

from autoscaler.api import RedisUrl, RedisUrlError, parse_redis_url
from autoscaler.demo.embedded import Process, free_port
from docservice.cli.main import _Count, main
from docservice.config import ConfigError, Settings, check_database_url, read_settings, unknown_variables
from docservice.ingest.publish import make_celery
from docservice.page_cache import IDENTITIES, version_key
from docservice.postgres.migrations import migrations

if TYPE_CHECKING:
    from pathlib import Path
from typing import Any

GOOD = {"REDIS_URL": "redis://localhost", "DATABASE_URL": "postgresql://me@localhost/documents"}


def faults(**changes: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_settings({**GOOD, **changes})
    return refused.value.faults


def test_both_addresses_are_needed_and_both_are_named() -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings({})
    assert refused.value.faults == [
        "REDIS_URL is not set; set it to a redis://, rediss:// or sentinel:// URL",
        "DATABASE_URL is not set; set it to a postgresql:// URL",
    ]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://x.example", "not a REST API"),
        ("unix:///run/redis.sock", "a socket file does not cross container borders"),
        ("localhost:6379", "no scheme found"),
        ("sentinel://?master=m", "no host found"),
        ("redis://h:70000", "its host or port cannot be read"),
        ("redis://h/first", "is not a number from 0 up"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "legal are required, optional, none"),
        ("sentinel://h/0", "add ?master=NAME"),
    ],
)
def test_a_wrong_redis_url_is_refused_with_what_is_legal(url: str, reason: str) -> None:
    (fault,) = faults(REDIS_URL=url)
    assert fault.startswith("REDIS_URL cannot be used: ")
    assert reason in fault


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://h/d", "the scheme must be postgresql or postgres"),
        ("postgresql://", "it names no host"),
        ("postgresql://h", "it must end in the name of a database"),
        ("postgresql://h/d?pool=3", "an unknown option"),
    ],
)
def test_a_wrong_database_url_is_refused_with_what_is_legal(url: str, reason: str) -> None:
    (fault,) = faults(DATABASE_URL=url)
    assert reason in fault


def test_all_faults_are_reported_together() -> None:
    assert faults(
        REDIS_MAX_CONNECTIONS="many",
        REDIS_SOCKET_TIMEOUT="0",
        DOCSERVICE_DOCS="secret",
        DOCSERVICE_UPLOAD_FILES="1e3",
    ) == [
        "REDIS_MAX_CONNECTIONS must be a whole number, not 'many'",
        "DOCSERVICE_UPLOAD_FILES must be a whole number, not '1e3'",
        "REDIS_SOCKET_TIMEOUT must be 0.05 to 60, not 0",
        "DOCSERVICE_DOCS must be open, admin or off, not 'secret'",
    ]


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("rediss://:secret@h:7/3\n")
    found = read_settings({"DATABASE_URL": GOOD["DATABASE_URL"], "REDIS_URL_FILE": str(path)})
    assert found.redis == RedisUrl(
        scheme="rediss", hosts=(("h", 7),), db=3, password="secret", tls={"ssl_cert_reqs": "required"}
    )
    assert faults(REDIS_URL_FILE=str(path)) == [
        "REDIS_URL and REDIS_URL_FILE exclude each other; set one of them"
    ]


def test_certificates_are_checked_by_celery_too() -> None:
    conf = make_celery(read_settings({**GOOD, "REDIS_URL": "rediss://u:p%2Fw@h/1"})).conf
    assert (conf.broker_url, conf.broker_use_ssl) == (
        "redis://u:p%2Fw@h:6379/1",
        {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
    )


def test_valkey_is_redis_to_celery() -> None:
    conf = make_celery(read_settings({**GOOD, "REDIS_URL": "valkey://h/2"})).conf
    assert (conf.broker_url, conf.broker_use_ssl) == ("redis://h:6379/2", False)


def test_sentinels_are_understood_as_the_autoscaler_does() -> None:
    settings = read_settings({**GOOD, "REDIS_URL": "sentinel://:secret@a:1,b:2/3?master=mymaster"})
    conf = make_celery(settings).conf
    assert (settings.redis.hosts, conf.broker_url, conf.broker_transport_options["master_name"]) == (
        (("a", 1), ("b", 2)),
        "sentinel://:secret@a:1/3;sentinel://:secret@b:2/3",
        "mymaster",
    )


@example(password="max_conne", scheme="redis", rest="h/0")
@given(
    password=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=9, max_size=30),
    scheme=st.sampled_from(["redis", "rediss", "https", "redis:", "x"]),
    rest=st.sampled_from(["h/0", "h:x/0", "h/zero", "h/0?a=1", "[h/0", ""]),
)
def test_no_password_is_ever_shown(password: str, scheme: str, rest: str) -> None:
    # "max_conne" is shown whatever the password: it begins the name of a setting.
    assume(password not in shown("\u2603" * 9, scheme, rest))
    assert password not in shown(password, scheme, rest)


def shown(password: str, scheme: str, rest: str) -> str:
    try:
        address = parse_redis_url(f"{scheme}://user:{password}@{rest}")
    except RedisUrlError as fault:
        return str(fault)
    settings = Settings(redis=address, database_url=f"postgresql://u:{password}@h/d")
    return repr(address) + str(address) + repr(settings)


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str, float]:
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as blobs:  # a start marks its store, which may be no other test's
        done = subprocess.run(
            [sys.executable, "-m", "docservice", *command],
            env={**clean, "DOCSERVICE_BLOB_URL": f"file://{blobs}", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stderr, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("command", [["api"], ["worker", "-c", "1"], ["sweep"], ["token", "list"]])
def test_a_start_without_settings_ends_with_one_line_and_2(command: list[str]) -> None:
    code, errors, _ = run(command, {"REDIS_URL": "https://:secretword@h"})
    assert (code, errors.count("\n"), "secretword" in errors) == (2, 1, False)


def test_a_start_without_redis_ends_with_one_line_and_1(database_url: str) -> None:
    url = f"redis://:secretword@127.0.0.1:{free_port()}/0"
    code, errors, _ = run(["api"], {"REDIS_URL": url, "DATABASE_URL": database_url})
    last = errors.strip().splitlines()[-1]
    assert (code, "secretword" in errors) == (1, False)
    assert last.startswith("docservice: REDIS_URL: no answer from redis://:***@127.0.0.1:")


def test_a_start_with_a_redis_that_does_not_answer_ends_within_its_timeout(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        code, _, seconds = run(
            ["api"], {"REDIS_URL": url, "DATABASE_URL": database_url, "REDIS_SOCKET_TIMEOUT": "0.5"}
        )
    assert code == 1
    assert seconds < 15


def test_a_start_without_postgres_ends_with_one_line_and_1(redis_url: str) -> None:
    url = f"postgresql://me:secretword@127.0.0.1:{free_port()}/d"
    code, errors, _ = run(["api"], {"REDIS_URL": redis_url, "DATABASE_URL": url})
    assert (code, errors.count("\n"), "secretword" in errors) == (1, 1, False)


def test_a_start_before_the_migrations_says_what_to_run(servers: Any, redis_url: str) -> None:
    code, errors, _ = run(["api"], {"REDIS_URL": redis_url, "DATABASE_URL": servers.postgres.url})
    lacking = ", ".join(step.name for step in migrations())
    assert (code, errors) == (1, f"docservice: the database lacks {lacking}; run docservice migrate\n")


def test_a_pattern_for_mail_numbers_that_can_backtrack_is_refused() -> None:
    (fault,) = faults(DOCSERVICE_MAIL_NUMBER_PATTERN=r"(\d+)\1")
    assert fault == (
        "DOCSERVICE_MAIL_NUMBER_PATTERN is not a regular expression that runs in linear time"
        " (invalid escape sequence: \\1); look-around and back references are not allowed"
    )


def test_a_token_is_made_listed_and_revoked(database_url: str, redis_url: str) -> None:
    environment = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
    runner = CliRunner(env=environment)
    made = runner.invoke(
        main, ["token", "create", "--name", "ann", "--role", "operator", "--module", "Mail", "--module", "HR"]
    )
    token = made.stdout.strip()
    listed = runner.invoke(main, ["token", "list"])
    assert (made.exit_code, listed.stdout) == (0, "1\tann\toperator\thr,mail\tactive\n")
    assert token not in listed.output
    assert runner.invoke(main, ["token", "revoke", "1"]).stdout == "token 1 is revoked\n"
    assert "revoked 20" in runner.invoke(main, ["token", "list"]).stdout
    again = runner.invoke(main, ["token", "revoke", "1"])
    assert (again.exit_code, again.stderr) == (
        1,
        "docservice: there is no active token 1; see docservice token list\n",
    )
    wrong = runner.invoke(main, ["token", "create", "--name", "ann", "--module", "no spaces"])
    assert wrong.exit_code == 2


def test_a_second_revocation_reaches_the_caches_that_the_first_one_did_not(
    database_url: str, redis_url: str
) -> None:
    runner = CliRunner(env={"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0"})
    assert runner.invoke(main, ["token", "create", "--name", "ann"]).exit_code == 0
    assert "Redis does not answer here" in runner.invoke(main, ["token", "revoke", "1"]).stdout
    again = runner.invoke(main, ["token", "revoke", "1"], env={"REDIS_URL": redis_url})
    assert (again.exit_code, "no active token 1" in again.stderr) == (1, True)
    with redis.Redis.from_url(redis_url) as client:
        assert client.exists(version_key(IDENTITIES)) == 1


def test_space_around_a_database_url_is_no_part_of_the_name() -> None:
    assert check_database_url(" postgresql://u@h/documents\n") == "postgresql://u@h/documents"


def test_a_mistyped_variable_is_named_and_one_of_kubernetes_is_not() -> None:
    given = [
        *("DOCSERVICE_CACHE_SECOND", "DOCSERVICE_DOC_FILE", "DOCSERVICE_NOTHING_LIKE_IT"),
        *("DOCSERVICE_CACHE_SECONDS", "DOCSERVICE_QUEUE_FILE", "DOCSERVICE_HOST", "REDIS_URI"),
        *("DOCSERVICE_PORT", "DOCSERVICE_SERVICE_HOST", "DOCSERVICE_API_PORT_8000_TCP_ADDR"),
    ]
    none = "is not a setting and has no effect"
    assert unknown_variables(dict.fromkeys(given, "1"), {"DOCSERVICE_HOST"}) == [
        f"DOCSERVICE_CACHE_SECOND {none}; did you mean DOCSERVICE_CACHE_SECONDS?",
        f"DOCSERVICE_DOC_FILE {none}; did you mean DOCSERVICE_DOCS?",
        f"DOCSERVICE_NOTHING_LIKE_IT {none}",
    ]


def test_a_start_names_the_variables_that_have_no_effect_and_no_other(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DOCSERVICE_BLOB_URL": f"file://{tmp_path}",
        "DOCSERVICE_TOKEN": "",
        "DOCSERVICE_URL": "",
        "DOCSERVICE_CONCURRENCY": "1",
        "DOCSERVICE_HTTP_PORT": "0",
        "DOCSERVICE_CACHE_SECOND": "0",
    }
    with Process(
        (sys.executable, "-m", "docservice", "api"), log_path=tmp_path / "log", environment=environment
    ) as process:
        process.wait_until(lambda: "api.starting" in process.log(), within_seconds=60, what="the start")
        assert process.log().count("settings.unknown_variable") == 1
        assert "DOCSERVICE_CACHE_SECOND is not a setting" in process.log()


def test_a_worker_count_is_a_number_or_auto() -> None:
    wrong = CliRunner().invoke(main, ["api", "--workers", "0"])
    assert (wrong.exit_code, "it must be auto, or a whole number" in wrong.stderr) == (2, True)


def test_auto_is_what_fits_in_the_container() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "autoscaler", "concurrency"], capture_output=True, text=True, check=True
    )
    assert _Count().convert("auto", None, None) == int(printed.stdout)
    assert _Count().convert("3", None, None) == 3
