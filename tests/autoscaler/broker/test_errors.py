"""What the broker's clients raise, as one short line with what to do."""

from __future__ import annotations

import ssl

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import MasterNotFoundError

from autoscaler.broker.errors import BrokerError, broker_errors, describe
from autoscaler.broker.url import RedisUrlError

ADDRESS = "is this the URL of Celery's broker, and is the server up?"
LOGIN = "correct USER:PASSWORD@HOST in the URL; special characters in it are written as %40 for @"
REPRS = ", ".join(f"<redis.client.Redis(host=s{n},port=26379)>" for n in range(40))


def certificate(message):
    fault = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message} (_ssl.c:1006)")
    fault.verify_message = message
    return fault


def raised_from(cause, text="Error 1 connecting to h:6379."):
    fault = RedisConnectionError(text)
    fault.__cause__ = cause
    return fault


@pytest.mark.parametrize(
    ("fault", "message", "advice"),
    [
        pytest.param(
            raised_from(certificate("certificate has expired")),
            "TLS: the server's certificate is refused: certificate has expired",
            "renew the server's certificate, and check this machine's clock",
            id="an expired certificate",
        ),
        pytest.param(
            raised_from(certificate("unable to get local issuer certificate")),
            "TLS: the server's certificate is refused: unable to get local issuer certificate",
            "give the file of the authority that signed it: rediss://...?ssl_ca_certs=/path/ca.pem",
            id="a wrong authority",
        ),
        pytest.param(
            raised_from(certificate("Hostname mismatch, certificate is not valid for 'h'.")),
            "TLS: the server's certificate is refused: Hostname mismatch, certificate is not valid for 'h'",
            "connect by the name that the certificate was issued for",
            id="another name",
        ),
        pytest.param(
            raised_from(TimeoutError("_ssl.c:989: The handshake operation timed out"), "Timeout"),
            "TLS: the handshake failed: Timeout",
            "rediss:// needs a port that speaks TLS, redis:// one that does not",
            id="TLS to a port without it",
        ),
        pytest.param(
            MasterNotFoundError(f"No master found for 'main' : {REPRS} - ConnectionError('refused')"),
            "Sentinel: none of the Sentinels answers, so the master 'main' is not known",
            "are the addresses of the Sentinels right, and are they up?",
            id="Sentinels that are down",
        ),
        pytest.param(
            MasterNotFoundError(f"No master found for 'main' : {REPRS} - AuthenticationError('no')"),
            "Sentinel: it refuses the login, so the master 'main' is not known",
            "give the Sentinels' own login in the URL: sentinel://...?master=NAME&sentinel_password=PASSWORD,"
            " and sentinel_username=USER where they have users",
            id="Sentinels with a password of their own",
        ),
        pytest.param(
            MasterNotFoundError("No master found for 'main'"),
            "Sentinel: the Sentinels know no reachable master 'main'",
            "is the option master= the name that the Sentinels monitor, and is that server up?",
            id="a name that the Sentinels do not know",
        ),
        pytest.param(
            MovedError("866 127.0.0.1:7001"),
            "the server is a node of a Redis Cluster, which Celery cannot use as a broker",
            "give the URL of a single server, or of sentinel:// for failover",
            id="a cluster",
        ),
        (AuthenticationError("WRONGPASS no"), "AuthenticationError: WRONGPASS no", LOGIN),
        (
            NoPermissionError("no get"),
            "NoPermissionError: no get",
            "the Redis user lacks this right; grant it with ACL SETUSER",
        ),
        (
            ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
            "ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value",
            (
                "a key that is needed here holds something of another program: redis-cli TYPE shows which;"
                " delete or rename it"
            ),
        ),
        (
            ReadOnlyError("no writes"),
            "ReadOnlyError: no writes",
            "the server is a replica; point the URL at the primary",
        ),
        (
            OperationalError("Error 111 connecting to h:1. Connection refused."),
            "OperationalError: Error 111 connecting to h:1. Connection refused.",
            ADDRESS,
        ),
        (ConnectionResetError("gone"), "ConnectionResetError: gone", ADDRESS),
        pytest.param(
            ResponseError("Command # 1 (SET k secret) of pipeline caused error: OOM"),
            "ResponseError: OOM",
            "",
            id="the values of a command are left out",
        ),
        pytest.param(
            ResponseError("cannot use redis://user:p@ss/word@h/0\r\n now"),
            "ResponseError: cannot use redis://***@h/0  now",
            "",
            id="a URL without its login, in one line",
        ),
        pytest.param(
            ResponseError("cannot use sentinel://h/0?master=m&sentinel_password=p&db=1"),
            "ResponseError: cannot use sentinel://h/0?master=m&sentinel_password=***&db=1",
            "",
            id="a URL without the secrets among its options",
        ),
    ],
)
def test_a_fault_is_one_line_with_what_to_do(fault, message, advice):
    found = describe(fault)
    assert (str(found), found.advice) == (message, advice)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            OperationalError("Error 111 connecting to h:1. Connection refused."),
            f"OperationalError: Error 111 connecting to h:1. Connection refused. I{ADDRESS[1:]}",
        ),
        (ConnectionResetError("gone"), f"ConnectionResetError: gone; {ADDRESS}"),
        (ResponseError("odd."), "ResponseError: odd."),
    ],
)
def test_what_to_do_follows_as_one_sentence_or_the_next(fault, line):
    assert describe(fault).with_advice() == line


def test_a_long_text_is_cut_between_words():
    found = str(describe(ResponseError("word " * 1000)))
    assert len(found) < 330
    assert found.endswith("word ...")


@pytest.mark.parametrize(
    "fault", [OSError("a"), ResponseError("b"), OperationalError("c"), TimeoutError("d")]
)
def test_every_fault_of_the_broker_is_a_broker_error_with_its_cause(fault):
    with pytest.raises(BrokerError) as raised, broker_errors():
        raise fault
    assert raised.value.__cause__ is fault


@pytest.mark.parametrize("fault", [BrokerError("said already"), RedisUrlError("no scheme")])
def test_a_broker_error_passes_as_it_is(fault):
    with pytest.raises(BrokerError) as raised, broker_errors():
        raise fault
    assert raised.value is fault


@pytest.mark.parametrize(
    ("fault", "permanent"),
    [
        (AuthenticationError("WRONGPASS no"), True),
        (NoPermissionError("no get"), True),
        (RedisUrlError("no scheme"), True),
        (MovedError("866 127.0.0.1:7001"), True),
        (raised_from(certificate("certificate has expired")), True),
        (MasterNotFoundError("No master found for 'main' : - AuthenticationError('no')"), True),
        (MasterNotFoundError("No master found for 'main'"), False),
        (ReadOnlyError("no writes"), False),
        (ConnectionResetError("gone"), False),
    ],
)
def test_a_fault_that_somebody_has_to_mend_is_told_from_one_that_passes(fault, permanent):
    found = fault if isinstance(fault, BrokerError) else describe(fault)
    assert found.permanent is permanent


def test_a_mistake_of_our_own_is_no_broker_error():
    with pytest.raises(KeyError), broker_errors():
        raise KeyError("ours")
