"""The pages of a daemon, served on a free port."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from prometheus_client import Counter

from autoscaler.report.web import serving
from tests.support.web import Site


@pytest.fixture
def serve():
    with ExitStack() as stack:

        def start(host="127.0.0.1"):
            site = Site(host=host)
            Counter("seen", "About.", registry=site.registry).inc(3)
            pages = site.pages()
            site.port = stack.enter_context(serving(pages, host, 0))
            return site

        yield start
