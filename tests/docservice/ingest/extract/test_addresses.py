"""People are found in every form in which mails write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docservice.ingest.extract.addresses import addresses


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ann@example.org", "ann@example.org"),
        ("<ann@example.org>", "ann@example.org"),
        ("Ann Example <ann@example.org>", "Ann Example <ann@example.org>"),
        ('"Ann Example" <ann@example.org>', "Ann Example <ann@example.org>"),
        ('"Example, Ann" <ann@example.org>', '"Example, Ann" <ann@example.org>'),
        ('"Ann \\"A\\" Example" <ann@example.org>', '"Ann \\"A\\" Example" <ann@example.org>'),
        ("ann@example.org (Ann Example)", "Ann Example <ann@example.org>"),
        ("ann@example.org (Ann (A.) Example)", "Ann (A.) Example <ann@example.org>"),
        ("Acme Inc.<info@example.org>", "Acme Inc. <info@example.org>"),
        ("=?utf-8?q?=0A?= <info@example.org>", "info@example.org"),
        ("=?utf-8?q?J=C3=B6rg?= =?utf-8?q?_M?= <j@example.org>", "Jörg M <j@example.org>"),
        ("=?utf-8?q?Example=2C_Ann?= <a@example.org>", '"Example, Ann" <a@example.org>'),
        ('"=?utf-8?q?J=C3=B6rg?=" <j@example.org>', "Jörg <j@example.org>"),
        ("=?utf-8?q?j=40example.org?=", "j@example.org"),
        ("a@example.org, b@example.org;c@example.org", "a@example.org, b@example.org, c@example.org"),
        ("Ann <a@example.org> Bob <b@example.org>", "Ann <a@example.org>, Bob <b@example.org>"),
        ("Team: a@example.org, Bob <b@example.org>;", "a@example.org, Bob <b@example.org>"),
        ("undisclosed-recipients:;", ""),
        ("<@relay,@other:ann@example.org>", "ann@example.org"),
        ("Ann <ann @ example.org>", "Ann <ann@example.org>"),
        ('"ann b"@example.org', '"ann b"@example.org'),
        ("Ann <ann@example.org", "Ann <ann@example.org>"),
        ('Ann "A <ann@example.org>', "Ann A <ann@example.org>"),
        ("Ann (A <ann@example.org>", "Ann A <ann@example.org>"),
        ("ann@example.org <ann@example.org>", "ann@example.org"),
        ("Ann Example", "Ann Example"),
        ("Jörg <j@example.org>", "Jörg <j@example.org>"),
        ("Ann\r\n  Example\r\n <ann@example.org>", "Ann Example <ann@example.org>"),
        ("", ""),
    ],
)
def test_a_list_is_readable(value: str, shown: str) -> None:
    assert addresses(value.encode()) == shown


@given(st.one_of(st.binary(max_size=100), st.text(alphabet='<>"(),;:@=?\\ aé', max_size=60).map(str.encode)))
def test_any_bytes_are_a_list(value: bytes) -> None:
    assert "\n" not in addresses(value)


@pytest.mark.parametrize(
    "pattern", ["(", '"', '"\\', "<", "=?a?q?", "a@b,", ",", ":", "=", "()", "@:", ":a@b", "<a>", '"" ']
)
def test_a_hostile_value_takes_bounded_time(pattern: str) -> None:
    started = time.process_time()
    addresses((pattern * 1_000_000).encode()[:1_000_000])
    assert time.process_time() - started < 10
