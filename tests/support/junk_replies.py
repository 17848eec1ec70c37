"""Answers commands beside real workers with what is no reply, as an old or a foreign program would."""

from __future__ import annotations

import bz2
import json
import pickle
import threading
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Self

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Make = Callable[[str], bytes]


def envelope(ticket: str, body: bytes = b'{"junk@h": {"ok": "pong"}}', **changes: Any) -> bytes:
    """A reply as kombu stores it, with ``changes`` to its parts; one that is None is left out."""
    parts: dict[str, Any] = {
        "body": b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"ticket": ticket},
        "properties": {"body_encoding": "base64", "delivery_info": {}, "delivery_tag": "t"},
    }
    parts |= {name.replace("_", "-"): value for name, value in changes.items()}
    return json.dumps({name: value for name, value in parts.items() if value is not None}).encode()


def _compressed(kind: str, body: bytes) -> Make:
    return lambda ticket: envelope(ticket, body, headers={"ticket": ticket, "compression": kind})


#: No worker can be told by any of these: kombu raises for most, and sends nothing on of the others.
NO_REPLY: dict[str, Make] = {
    "no JSON": lambda _: b"\x00\xffjunk",
    "nothing": lambda _: b"",
    "null": lambda _: b"null",
    "a list": lambda _: b"[1, 2]",
    "a number": lambda _: b"5",
    "an empty object": lambda _: b"{}",
    "too deep": lambda _: b"[" * 100_000,
    "no body": lambda ticket: _with(ticket, body=None),
    "no headers": lambda ticket: envelope(ticket, headers=None),
    "headers of another type": lambda ticket: envelope(ticket, headers=[1]),
    "no properties": lambda ticket: envelope(ticket, properties=None),
    "properties of another type": lambda ticket: envelope(ticket, properties=[1]),
    "no delivery tag": lambda ticket: envelope(ticket, properties={"body_encoding": "base64"}),
    "an unknown encoding of the body": lambda ticket: envelope(
        ticket, properties={"body_encoding": "rot13", "delivery_info": {}, "delivery_tag": "t"}
    ),
    "an encoding of another type": lambda ticket: envelope(
        ticket, properties={"body_encoding": ["base64"], "delivery_info": {}, "delivery_tag": "t"}
    ),
    "a body that is not base64": lambda ticket: _with(ticket, body="abc"),
    "a body that is a number": lambda ticket: _with(ticket, body=7),
    "a body that is an object": lambda ticket: _with(ticket, body={}),
    "no content type": lambda ticket: envelope(ticket, content_type=None),
    "JSON that is a list": lambda ticket: envelope(ticket, b'["junk@h"]'),
    "JSON without a name": lambda ticket: envelope(ticket, b"[" * 100_000),
    "UTF-16": lambda ticket: envelope(ticket, '{"junk@h": 1}'.encode("utf-16"), content_encoding="utf-16"),
}
#: These hold the name of who sent them.
OF_A_WORKER: dict[str, Make] = {
    "no JSON": lambda ticket: envelope(ticket, b"junk@h says hello"),
    "no UTF-8": lambda ticket: envelope(ticket, b'{"junk@h": "\xff\xfe"}'),
    "a typed value": lambda ticket: envelope(ticket, b'{"junk@h": {"__type__": "uuid", "__value__": 1}}'),
    "a content type of another type": lambda ticket: envelope(ticket, content_type=["a"]),
    "a foreign content type": lambda ticket: envelope(ticket, content_type="application/x-foo"),
    "YAML": lambda ticket: envelope(ticket, b"junk@h: 1", content_type="application/x-yaml"),
    "pickle": lambda ticket: envelope(
        ticket, pickle.dumps({"junk@h": 1}), content_type="application/x-python-serialize"
    ),
    "zlib that is none": _compressed("application/x-gzip", b"junk@h"),
    "bzip2 that is cut": _compressed("application/x-bz2", b"junk@h" + bz2.compress(b"x")[:9]),
}


def _with(ticket: str, **changes: Any) -> bytes:
    parts = json.loads(envelope(ticket)) | changes
    return json.dumps({name: value for name, value in parts.items() if value is not None}).encode()


class JunkWriter:
    """Answers each command to workers at ``url`` by all of ``makes``, each given its ticket."""

    def __init__(self, url: str, makes: Sequence[Make]) -> None:
        self._client = redis.Redis.from_url(url)
        self._makes = makes
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self.answered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()

    def _answer(self) -> None:
        with self._client.pubsub() as channel:
            channel.psubscribe("/0.celery.pidbox")
            while not self._ended.is_set():
                message = channel.get_message(timeout=0.05)
                if message is None:
                    continue
                if message["type"] == "psubscribe":
                    self._ready.set()
                elif message["type"] == "pmessage":
                    self._reply(json.loads(b64decode(json.loads(message["data"])["body"])))

    def _reply(self, command: dict[str, Any]) -> None:
        if command.get("reply_to"):
            where = command["reply_to"]
            replies = [make(command["ticket"]) for make in self._makes]
            self._client.lpush(f"{where['routing_key']}.{where['exchange']}", *replies)
            self.answered += 1
