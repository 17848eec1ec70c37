"""The health check of a container."""

from __future__ import annotations

import socket

import pytest

from tests.support.web import healthcheck


def test_the_healthcheck_asks_the_given_page_and_no_proxy(serve):
    site = serve()
    site.ready = "Redis was last read 40 s ago"
    where = {"AUTOSCALER_LISTEN": f"0.0.0.0:{site.port}", "http_proxy": "http://127.0.0.1:1"}
    assert healthcheck(**where) == (0, "ok\n", "")
    assert healthcheck("--ready", **where) == (1, "", "autoscaler: Redis was last read 40 s ago\n")


@pytest.mark.slow
def test_a_healthcheck_without_a_daemon_says_so(serve):
    del serve
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        # It takes the connection and says nothing.
        code, out, err = healthcheck("--listen", f"127.0.0.1:{port}")
    assert (code, out, err) == (
        1,
        "",
        f"autoscaler: the daemon does not answer on 127.0.0.1:{port}: timed out\n",
    )
    assert healthcheck("--listen", "h:x") == (
        2,
        "",
        "autoscaler: --listen is 'h:x'; it must be HOST:PORT, for instance 0.0.0.0:9809\n",
    )
