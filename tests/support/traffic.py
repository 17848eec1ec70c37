"""Tasks that keep coming while a test does something to their workers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from celery import Celery

if TYPE_CHECKING:
    from tests.support.cluster import Cluster


class Traffic:
    """Sends naps as fast as they are taken, until it is left; ``sent`` counts them."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self.sent = 0
        self._cluster, self._seconds = cluster, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        client = self._cluster.redis
        app = Celery("traffic", broker=self._cluster.server.url, set_as_current=False)
        while not self._stop.is_set():
            if int(client.llen("celery")) < 30:
                app.send_task("nap", args=[self._seconds], queue="celery", ignore_result=True)
                self.sent += 1
            else:
                self._stop.wait(0.005)
        app.close()
