from __future__ import annotations

import pytest
import redis

from autoscaler.demo.embedded import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as one:
        one.flushall()
        yield one
