"""Each right that the API or the worker needs of Redis is tried, and named where it is missing."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner

from autoscaler.api import parse_redis_url
from autoscaler.demo.embedded import RedisServer
from docservice.cli.main import main
from docservice.cli.redis_rights import refusal
from tests.support.guarded import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docservice.config import Settings

REPLIES = "docservice-check.reply.celery.pidbox"
ADVICE = "grant that to the user, as deploy/redis/users.acl does"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("rights") / "redis") as one:
        yield one


def rights_of(part: str) -> list[str]:
    [line] = [line for line in USERS.read_text().splitlines() if line.startswith(f"user {part} ")]
    words = (
        line.removeprefix(f"user {part} on resetkeys resetchannels ").replace("(", "\n(").replace(")", ")\n")
    )
    return [
        one
        for part_of in words.splitlines()
        for one in ([part_of] if part_of.startswith("(") else part_of.split())
    ]


def lacks(server: RedisServer, settings: Settings, rights: list[str]) -> str | None:
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "tried", "reset", "on", ">secret", *rights)
    return refusal(replace(settings, redis=parse_redis_url(server.url.replace("//", "//tried:secret@"))))


@pytest.mark.parametrize("part", ["api", "worker"])
def test_the_documented_users_lack_nothing_and_nothing_is_done(
    part: str, server: RedisServer, settings: Settings
) -> None:
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        assert lacks(server, settings, rights_of(part)) is None
        assert admin.keys("*") == []
        assert lacks(server, settings, ["allkeys", "allchannels", "+@all"]) is None
        assert admin.keys("*") == []


#: Rights that matter in some cases alone, or that another one of the user covers.
_COVERED = {
    "~_kombu.binding.celeryev",
    "~_kombu.binding.reply.celery.pidbox",
    "~_kombu.binding_permanent.reply.celery.pidbox",
}
_EVENTS = {"&/0.celeryev/*", "&/0.celeryev/worker.*", "~_kombu.binding_permanent.celeryev", "~celeryev.*"}
#: ``autoscaler drain`` and ``check-worker`` in a worker's container.
_DRAIN = {"%R~celery??[1-9]", "+lindex", "+sismember", "~*.celery.pidbox??[369]"}
NOT_TRIED = {
    "api": {*_COVERED, "%R~_kombu.binding_permanent.*", "+lpush"},
    "worker": {
        *(*_COVERED, *_EVENTS, *_DRAIN),
        *("~_kombu.binding.celery.pidbox", "~_kombu.binding_permanent.celery.pidbox"),
    },
}


@pytest.mark.parametrize("part", ["api", "worker"])
def test_each_right_that_is_missing_is_found(part: str, server: RedisServer, settings: Settings) -> None:
    rights = rights_of(part)
    unseen = {
        right
        for right in rights
        if right != "-@all" and lacks(server, settings, [one for one in rights if one != right]) is None
    }
    assert unseen == NOT_TRIED[part]


@pytest.mark.parametrize(
    ("part", "right", "named"),
    [
        ("api", "&/0.celery.pidbox", "the API: PUBLISH /0.celery.pidbox"),
        ("api", "%R~autoscaler:*:status", "the API: GET autoscaler:default:status"),
        ("api", "+exec", "the API: EXEC"),
        ("worker", "~unacked_mutex", "the worker: SET unacked_mutex"),
        ("worker", "+role", "the worker: ROLE"),
        (
            "worker",
            "~celery??[369]",
            "the worker: BRPOP celery\\x06\\x163",
        ),
    ],
)
def test_a_check_names_the_right_that_is_missing(
    part: str, right: str, named: str, server: RedisServer, settings: Settings
) -> None:
    why = lacks(server, settings, [one for one in rights_of(part) if one != right])
    assert why == f"the user tried lacks for {named}; {ADVICE}"


def test_a_check_and_a_start_say_that_a_right_is_missing_not_that_redis_is_silent(
    server: RedisServer, settings: Settings
) -> None:
    environment = {
        "DATABASE_URL": settings.database_url,
        "DOCSERVICE_BLOB_URL": settings.blob_url,
        "REDIS_URL": server.url.replace("//", "//tried:secret@"),
    }
    for right, line in (
        ("+eval", "EVAL docservice:run docservice:epoch"),
        ("+publish", "PUBLISH /0.celery.pidbox"),
    ):
        lacks(server, settings, [one for one in rights_of("api") if one != right])
        checked = CliRunner(env=environment).invoke(main, ["check"])
        assert (checked.exit_code, checked.stderr) == (
            1,
            f"docservice: REDIS_URL: the user tried lacks for the API: {line}; {ADVICE}\n",
        )
    lacks(server, settings, ["+@all", "allkeys", "allchannels", "-client|setname"])
    started = CliRunner(env=environment).invoke(main, ["api"])
    assert started.exit_code == 1
    assert "client|setname" in started.stderr


@pytest.mark.parametrize("part", ["api", "worker"])
def test_a_check_passes_for_the_documented_users(part: str, server: RedisServer, settings: Settings) -> None:
    lacks(server, settings, rights_of(part))
    environment = {
        "DATABASE_URL": settings.database_url,
        "DOCSERVICE_BLOB_URL": settings.blob_url,
        "REDIS_URL": server.url.replace("//", "//tried:secret@"),
    }
    checked = CliRunner(env=environment).invoke(main, ["check"])
    assert (checked.exit_code, checked.stderr) == (0, "")


@pytest.mark.parametrize(("part", "other"), [("api", "worker"), ("worker", "api")])
def test_a_check_for_one_part_does_not_pass_for_the_user_of_the_other(
    part: str, other: str, server: RedisServer, settings: Settings
) -> None:
    lacks(server, settings, rights_of(part))
    environment = {
        "DATABASE_URL": settings.database_url,
        "DOCSERVICE_BLOB_URL": settings.blob_url,
        "REDIS_URL": server.url.replace("//", "//tried:secret@"),
    }
    own = CliRunner(env=environment).invoke(main, ["check", "--for", part])
    assert (own.exit_code, own.stderr) == (0, "")
    mistaken = CliRunner(env=environment).invoke(main, ["check", "--for", other])
    lacking = {
        "api": f"the API: RPOP {REPLIES}, LRANGE celery, ",
        "worker": "the worker: BRPOP celery, ",
    }[other]
    assert mistaken.exit_code == 1
    assert mistaken.stderr.startswith(f"docservice: REDIS_URL: the user tried lacks for {lacking}")


def test_a_server_that_goes_away_while_rights_are_tried_does_not_pass_for_one_that_grants_them(
    settings: Settings,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):  # the end of the server
                while True:
                    peer, _ = server.accept()
                    with peer:
                        while (data := peer.recv(4096)) and b"WATCH" not in data:
                            peer.sendall(b"+OK\r\n" * len(re.findall(rb"^\*", data, re.MULTILINE)))

        Thread(target=answer, daemon=True).start()
        url = parse_redis_url(f"redis://tried:secret@127.0.0.1:{server.getsockname()[1]}/0")
        why = refusal(replace(settings, redis=url), "api")
        server.shutdown(socket.SHUT_RDWR)
    assert why is not None
    assert why.startswith("the connection ended while the rights of the user tried were tried (")
