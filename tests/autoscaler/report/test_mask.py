"""What a user gave is repeated without the login of a URL."""

from __future__ import annotations

import pytest

from autoscaler.report.mask import mask, shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:s3cret@h/0", "redis://***@h/0"),
        ("redis://me:s3/cr@et word@h:6379/0", "redis://***@h:6379/0"),
        ("unexpected extra argument (rediss://:s3cret@h)", "unexpected extra argument (rediss://***@h)"),
        ("a path: redis:/:s3cret@h", "a path: redis:/***@h"),
        (":s3cret@h:6379", "***@h:6379"),
        ("me:s3cret@h", "***@h"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://h/0?password=s3cret&db=1", "redis://h/0?password=***&db=1"),
        ("sentinel://h?master=m&sentinel_password=s3cret", "sentinel://h?master=m&sentinel_password=***"),
        ("celery@host", "celery@host"),
        ("no worker 'w1@h': w2@h, w3@h", "no worker 'w1@h': w2@h, w3@h"),
        ("mails=30s", "mails=30s"),
        ("127.0.0.1:9809", "127.0.0.1:9809"),
    ],
)
def test_a_login_is_masked_and_nothing_else(text, masked):
    assert mask(text) == masked


def test_a_value_is_masked_before_it_is_cut():
    assert shown("redis://:" + "s3cret" * 20 + "@h") == "'redis://***@h'"
    assert shown("x" * 100) == repr("x" * 60)
