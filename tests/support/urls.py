"""Redis URLs and passwords as people write them."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import strategies as st

from autoscaler.broker.url import RedisUrl

LEGAL = "use redis://, rediss:// (TLS), valkey:// or sentinel:// with HOST:PORT/DB"


def refused(scheme, why):
    return f"Redis URL: scheme {scheme!r} is refused: {why}; {LEGAL}"


def url(scheme="redis", host="h", port=6379, **fields):
    return RedisUrl(**{"scheme": scheme, "hosts": ((host, port),), **fields})


TLS = {"scheme": "rediss", "tls": {"ssl_cert_reqs": "required"}}

# No star (the mask), and a beginning that no message of ours has.
passwords = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*"), min_size=6, max_size=24
).map(lambda text: f"Zq7{text.strip()}")
spellings = st.sampled_from([str, quote, lambda text: quote(text, safe="")])
