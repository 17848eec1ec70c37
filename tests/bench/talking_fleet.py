"""A made-up fleet that talks as real workers do: inspection, heartbeats, and the events of its tasks.

What a real worker answered and published at the start of the run is repeated under other names.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
from celery import Celery

from autoscaler.demo.embedded import wait_until
from tests.bench.fleet import Fleet

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

MODEL = "model@bench"
#: What celery-exporter and Flower ask of all workers, beside the companion's report.
COMMANDS = ("pool_report", "stats", "active_queues", "registered", "conf", "ping")
HEARTBEAT_SECONDS = 2.0
#: Tasks of one second that each worker ends in a second while it is busy.
TASKS_PER_SECOND = 1
_EVENTS = "/0.celeryev/*"


def record(cluster: Cluster) -> dict[str, Any]:
    """What a real worker answers to each command, and what it publishes: by itself, and for one task."""
    worker = cluster.worker(MODEL, "-E")
    app = Celery("asks", broker=cluster.server.url, set_as_current=False)
    replies = {
        command: app.control.broadcast(command, destination=[MODEL], reply=True, limit=1, timeout=60)[0][
            MODEL
        ]
        for command in COMMANDS
    }
    published = _published(cluster, app)
    app.close()
    worker.stop()
    cluster.redis.flushall()
    heartbeat = next(one for one in published if _kinds(one) == {"worker-heartbeat"})
    return {
        "replies": replies,
        "heartbeat": heartbeat,
        "task": [one for one in published if all(kind.startswith("task-") for kind in _kinds(one))],
    }


def _published(cluster: Cluster, app: Celery) -> list[dict[str, Any]]:
    """The messages of a heartbeat and of one task, each with its channel."""
    listening = cluster.redis.pubsub()
    listening.psubscribe(_EVENTS)
    app.send_task("nap", args=[0.05], ignore_result=True)
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        message = listening.get_message(ignore_subscribe_messages=True, timeout=0.1)
        if message is not None:
            envelope = json.loads(message["data"])
            body = json.loads(base64.b64decode(envelope["body"]))
            found.append({"channel": message["channel"].decode(), "envelope": envelope, "body": body})
        return {"task-succeeded", "worker-heartbeat"} <= {kind for one in found for kind in _kinds(one)}

    wait_until(complete, within_seconds=60, what="the events of a worker and of its task")
    listening.close()
    return found


def _kinds(message: dict[str, Any]) -> set[str]:
    return {event["type"] for event in _events(message["body"])}


def _events(body: Any) -> list[dict[str, Any]]:
    return body if isinstance(body, list) else [body]


class TalkingFleet(Fleet):
    """Answers what was recorded, and publishes it; runs in a process of its own."""

    def __init__(
        self, port: int, count: int, recorded: dict[str, Any], counters: Path, *, busy: bool
    ) -> None:
        super().__init__(port, count, recorded["replies"]["pool_report"], counters)
        self._recorded, self._busy = recorded, busy
        self._events = self._connect(port)

    def serve(self) -> None:
        threading.Thread(target=self._talk, daemon=True).start()
        super().serve()

    def _reply(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        method = asked["method"]
        if method == "pool_report":
            size, ended = self._sizes[name], int(TASKS_PER_SECOND * (time.monotonic() - self._began))
            return super()._reply(name, asked) | (
                {"busy": size, "reserved": size, "completed": ended} if self._busy else {}
            )
        if method == "active_queues":
            queue = self._recorded["replies"][method][0]
            return [{**queue, "name": one} for one in self._reports[name]["queues"]]  # type: ignore[return-value]
        return self._recorded["replies"][method] if method in COMMANDS else super()._reply(name, asked)

    def _talk(self) -> None:
        """Publish as the workers would, spread over time."""
        names = list(self._sizes)
        begun, round_ = time.monotonic(), 0
        while True:
            for number, name in enumerate(names):
                at = begun + round_ + number / len(names)
                time.sleep(max(0.0, at - time.monotonic()))
                if (round_ + number) % int(HEARTBEAT_SECONDS) == 0:
                    self._publish(name, [self._recorded["heartbeat"]])
                for _ in range(TASKS_PER_SECOND if self._busy else 0):
                    self._publish(name, self._recorded["task"])
            round_ += 1

    def _publish(self, name: str, messages: list[dict[str, Any]]) -> None:
        task, words = str(uuid.uuid4()), []
        for message in messages:
            body = [self._event(name, task, one) for one in _events(message["body"])]
            text = json.dumps(body if isinstance(message["body"], list) else body[0])
            envelope = {**message["envelope"], "body": base64.b64encode(text.encode()).decode()}
            words.append(hiredis.pack_command(("PUBLISH", message["channel"], json.dumps(envelope))))
        self._events.sendall(b"".join(words))
        answers = hiredis.Reader()
        for _ in messages:
            while answers.gets() is False:
                answers.feed(self._events.recv(1 << 16))

    @staticmethod
    def _event(name: str, task: str, event: dict[str, Any]) -> dict[str, Any]:
        own = {"uuid": task} if "uuid" in event else {}
        return {**event, **own, "hostname": name, "timestamp": time.time()}


if __name__ == "__main__":
    PORT, RECORDED, COUNTERS, COUNT, STATE = sys.argv[1:]
    TalkingFleet(
        int(PORT),
        int(COUNT),
        json.loads(Path(RECORDED).read_text()),
        Path(COUNTERS),
        busy=STATE == "busy",
    ).serve()
