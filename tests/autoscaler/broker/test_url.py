"""The grammar of a Redis URL."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoscaler.broker.url import RedisUrlError, parse_redis_url
from tests.support.urls import LEGAL, TLS, passwords, refused, spellings, url

UNREADABLE = "Redis URL: its host or port cannot be read; write HOST:PORT"
REST = "the service speaks the Redis protocol, not a REST API"
SOCKET = "a socket file does not cross container borders; let Redis listen on a port too"
SEVERAL = "Redis URL: several URLs found; give one, or sentinel:// for failover"
QUOTES = "Redis URL: it stands in quotes; take them away"
CHECKS = "required, optional, none"
LOGINS = "Redis URL: the hosts of sentinel:// have different logins; the master has one"
MASTER = "Redis URL: the option 'master' names the master of sentinel://, and only there"
#: What people carry in a URL that several programs read.
SHARED = (
    "retry_on_timeout=1&client_name=web&decode_responses=True&protocol=3&virtual_host=2&visibility_timeout=60"
    "&global_keyprefix=p&sentinel_password=x&encoding=utf-8"
)
TWO = {"scheme": "sentinel", "hosts": (("h1", 1), ("h2", 26379)), "sentinel_master": "m"}


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("redis://h", url(), "redis://h:6379/0"),
        (" REDIS://h:1/3\n", url(port=1, db=3), "redis://h:1/3"),
        ("valkey://h/", url(), "redis://h:6379/0"),
        ("redis://:pw@h", url(password="pw"), "redis://:***@h:6379/0"),
        ("redis://u:pw@h", url(username="u", password="pw"), "redis://u:***@h:6379/0"),
        ("redis://:@h", url(password=""), "redis://:***@h:6379/0"),
        ("redis://u%40x:p%2Fw%25@h", url(username="u@x", password="p/w%"), "redis://u%40x:***@h:6379/0"),
        ("redis://:a@b/c?d#e@h:1/2", url(password="a@b/c?d#e", port=1, db=2), "redis://:***@h:1/2"),
        ("redis://[::1]:7/1", url(host="::1", port=7, db=1), "redis://[::1]:7/1"),
        ("redis://:pw@[fe80::1]", url(host="fe80::1", password="pw"), "redis://:***@[fe80::1]:6379/0"),
        ("redis://[fe80::1%25eth0]/1", url(host="fe80::1%eth0", db=1), "redis://[fe80::1%25eth0]:6379/1"),
        ("redis://", url(host="127.0.0.1"), "redis://127.0.0.1:6379/0"),
        ("redis://:pw@/3", url(host="127.0.0.1", db=3, password="pw"), "redis://:***@127.0.0.1:6379/3"),
        ("redis://:7/3", url(host="127.0.0.1", port=7, db=3), "redis://127.0.0.1:7/3"),
        ("redis://h/1?password=p@w", url(db=1, password="p@w"), "redis://:***@h:6379/1"),
        (
            "redis://u:p@w/x?y@h/1?client_name=a@b",
            url(db=1, username="u", password="p@w/x?y", ignored_options=("client_name",)),
            "redis://u:***@h:6379/1",
        ),
        ("rediss://h", url(**TLS), "rediss://h:6379/0"),
        ("valkeys://h", url(**TLS), "rediss://h:6379/0"),
        (
            "rediss://h?ssl_cert_reqs=CERT_NONE",
            url(scheme="rediss", tls={"ssl_cert_reqs": "none"}),
            "rediss://h:6379/0",
        ),
        (
            "rediss://h/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=optional",
            url(scheme="rediss", db=1, tls={"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "optional"}),
            "rediss://h:6379/1",
        ),
        ("rediss://h?ssl_ca=x", url(**TLS, ignored_options=("ssl_ca",)), "rediss://h:6379/0"),
        (
            "rediss://h?ssl_check_hostname=False&ssl_keyfile=/k&ssl_password=pw",
            url(
                scheme="rediss",
                tls={
                    "ssl_cert_reqs": "required",
                    "ssl_check_hostname": "",
                    "ssl_keyfile": "/k",
                    "ssl_password": "pw",
                },
            ),
            "rediss://h:6379/0",
        ),
        pytest.param(
            "rediss://:Zm9vYmFyCg1BQk9V0k4f0tYzCaC0Jzg=@shop.redis.cache.windows.net:6380/0?ssl_cert_reqs=required",
            url(
                **TLS,
                host="shop.redis.cache.windows.net",
                port=6380,
                password="Zm9vYmFyCg1BQk9V0k4f0tYzCaC0Jzg=",
            ),
            "rediss://:***@shop.redis.cache.windows.net:6380/0",
            id="Azure's password ends in =",
        ),
        pytest.param(
            "redis://h?username=u&password=p%2B%3D",
            url(username="u", password="p+="),
            "redis://u:***@h:6379/0",
            id="a login among the options",
        ),
        ("redis://h?db=3", url(db=3), "redis://h:6379/3"),
        ("redis://:abc=@h:1", url(port=1, password="abc="), "redis://:***@h:1/0"),
        (
            "redis://h/1?health_check_interval=30&socket_timeout=2.5&socket_keepalive=True&protocol=3&x=",
            url(
                db=1,
                options={"health_check_interval": 30.0, "socket_timeout": 2.5, "socket_keepalive": 1.0},
                ignored_options=("protocol", "x"),
            ),
            "redis://h:6379/1",
        ),
        (
            "redis://h?socket_timeout=never&socket_connect_timeout=1e999",
            url(ignored_options=("socket_connect_timeout", "socket_timeout")),
            "redis://h:6379/0",
        ),
        (
            f"redis://h?max_connections=7&{SHARED}",
            url(
                options={"max_connections": 7.0},
                ignored_options=(
                    "client_name",
                    "decode_responses",
                    "encoding",
                    "global_keyprefix",
                    "protocol",
                    "retry_on_timeout",
                    "sentinel_password",
                    "virtual_host",
                    "visibility_timeout",
                ),
            ),
            "redis://h:6379/0",
        ),
        ("sentinel://h1:1,h2/4?master=m", url(**TWO, db=4), "sentinel://h1:1,h2:26379/4"),
        (
            "sentinel://:pw@h1:1,h2?master=m&sentinel_username=watch&sentinel_password=dog",
            url(**TWO, password="pw", sentinel_login={"username": "watch", "password": "dog"}),
            "sentinel://:***@h1:1,h2:26379/0",
        ),
        (
            "sentinel://:pw@h1:1,h2?master=m&sentinel_password=d@g",
            url(**TWO, password="pw", sentinel_login={"password": "d@g"}),
            "sentinel://:***@h1:1,h2:26379/0",
        ),
        (
            "sentinel://:pw@h1:1/4;sentinel://:pw@h2:26379/4?master=m",
            url(**TWO, db=4, password="pw"),
            "sentinel://:***@h1:1,h2:26379/4",
        ),
        (
            "sentinel://:p@h1:1;sentinel://h2?master=m",
            url(**TWO, password="p"),
            "sentinel://:***@h1:1,h2:26379/0",
        ),
    ],
)
def test_a_url_is_parsed_and_shown_without_its_password(text, expected, shown):
    found = parse_redis_url(text)
    assert found == expected
    assert str(found) == shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", f"Redis URL: no scheme found; {LEGAL}"),
        ("h:6379/0", f"Redis URL: no scheme found; {LEGAL}"),
        ("http://h", refused("http", REST)),
        ("https://:pw@h", refused("https", REST)),
        ("unix:///run/redis.sock", refused("unix", SOCKET)),
        ("redis+socket:///run/s", refused("redis+socket", SOCKET)),
        ("redis+cluster://h", refused("redis+cluster", "Celery has no cluster transport")),
        ("redis-cluster://h/0", refused("redis-cluster", "Celery has no cluster transport")),
        ("kafka://h", f"Redis URL: scheme 'kafka' is not known; {LEGAL}"),
        (
            "amqp://h",
            (
                "Redis URL: scheme 'amqp' is refused: the broker must be Redis or Valkey: queues and workers"
                f" of others are not read; {LEGAL}"
            ),
        ),
        ("user:secret://x@h", f"Redis URL: no scheme found; {LEGAL}"),
        ("sentinel://?master=m", f"Redis URL: no host found; {LEGAL}"),
        ("redis://a,/0", f"Redis URL: no host found; {LEGAL}"),
        ('"redis://h/0"', QUOTES),
        ("'redis://:secret@h/0'", QUOTES),
        ("redis://a/0;redis://b/0", SEVERAL),
        ("redis://:secret@a/0;rediss://:secret@b/0", SEVERAL),
        ("redis://:secret@a/0,redis://b/0", SEVERAL),
        ("redis://h:port", UNREADABLE),
        ("redis://h:70000", UNREADABLE),
        ("redis://[::1", UNREADABLE),
        pytest.param(f"redis://{'a' * 64}", UNREADABLE, id="a host name that no resolver takes"),
        ("redis://a,b", "Redis URL: 2 hosts found; give one, or sentinel:// for failover"),
        ("redis://secret@h", "Redis URL: its login has no ':'; write :PASSWORD@ or USER:PASSWORD@"),
        ("redis://h/x", "Redis URL: database 'x' is not a number from 0 up, as in redis://HOST:6379/0"),
        ("redis://h/-1", "Redis URL: database '-1' is not a number from 0 up, as in redis://HOST:6379/0"),
        ("redis://h/1/2", "Redis URL: database '1/2' is not a number from 0 up, as in redis://HOST:6379/0"),
        ("redis://h?db=x", "Redis URL: database 'x' is not a number from 0 up, as in redis://HOST:6379/0"),
        ("redis://h?ssl_cert_reqs=none", "Redis URL: option 'ssl_cert_reqs' needs TLS; use rediss://"),
        (
            "sentinel://h?master=m&ssl_cert_reqs=none",
            "Redis URL: option 'ssl_cert_reqs' needs TLS; use rediss://",
        ),
        ("rediss://h?ssl_cert_reqs=maybe", f"Redis URL: ssl_cert_reqs is 'maybe'; legal are {CHECKS}"),
        ("redis://h?master=m", MASTER),
        ("sentinel://h", "Redis URL: sentinel:// needs the master's name; add ?master=NAME"),
        ("sentinel://:a@h;sentinel://:b@h?master=m", LOGINS),
    ],
)
def test_a_url_that_cannot_be_used_says_why_in_one_line(text, fault):
    with pytest.raises(RedisUrlError) as caught:
        parse_redis_url(text)
    assert str(caught.value) == fault


BROKEN = (
    "http://:{}@h",
    "foo://u:{}@h",
    ":{}@h:6379/0",
    "{}@h",
    "redis://:{}@h:port/0",
    "redis://:{}@h/database",
    "rediss://:{}@h/0?ssl_a=b",
    "redis://:{}@",
    "redis://{}@h",
    "rediss://:{}@h?ssl_cert_reqs=x",
    "sentinel://:{}@h1,h2",
    "sentinel://:{}@h1;sentinel://:other@h2?master=m",
    "redis://h/x?password={}",
    "sentinel://h1?sentinel_password={}",
    "redis://:{}@a/0;redis://b/0",
)


def refusal(text):
    try:
        return repr(parse_redis_url(text))
    except RedisUrlError as fault:
        return str(fault)


@given(passwords, spellings, st.sampled_from(BROKEN))
def test_what_a_broken_url_says_does_not_depend_on_its_password(password, spelling, template):
    assume(":" not in spelling(password))  # it would repair the one that lacks it
    assert refusal(template.format(spelling(password))) == refusal(template.format("x"))
