"""The Celery application of the demo: it takes mails in, as a document service does.

Each task parses a mail, hashes what it holds and then waits a moment, as for the answer of an archive. What
ran is counted in Redis, so that the demo can tell whether anything was lost or ran twice.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache

import redis
from celery import Celery

QUEUE = "mails"
DONE_KEY = "demo:done"  # hash: task id -> how often it ran
WAIT_KEY = "demo:waits"  # list: seconds from sending to starting
_ROUNDS = 20_000
_ARCHIVE_SECONDS = 0.3

app = Celery("autoscaler-demo", broker=os.environ.get("REDIS_URL", ""))
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def make_mail(number: int) -> bytes:
    """A mail of about 8 kB with an attachment; the same number gives the same mail."""
    source = random.Random(number)  # noqa: S311 - sample data
    mail = EmailMessage()
    mail["From"] = f"sender{number % 17}@example.org"
    mail["To"] = "archive@example.org"
    mail["Subject"] = f"[M-{2026_000_000 + number}] Invoice {number}"
    mail.set_content("\n".join(f"Line {line}: {source.random():.12f}" for line in range(80)))
    mail.add_attachment(source.randbytes(3000), maintype="application", subtype="pdf", filename="invoice.pdf")
    return mail.as_bytes()


@app.task(bind=True, name="demo.take_in")  # type: ignore[untyped-decorator]
def take_in(self, mail: str, sent_at: float) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - Celery's task
    """Parse a mail, hash its parts, wait for the archive, and count the run."""
    waited = time.time() - sent_at
    parsed = message_from_bytes(mail.encode("latin-1"), policy=policy.default)
    for part in parsed.walk():
        payload = part.get_payload(decode=True)
        hashlib.pbkdf2_hmac("sha256", payload if isinstance(payload, bytes) else b"", b"demo", _ROUNDS)
    time.sleep(_ARCHIVE_SECONDS)
    pipeline = _redis().pipeline()
    pipeline.hincrby(DONE_KEY, self.request.id, 1)
    pipeline.rpush(WAIT_KEY, waited)
    pipeline.execute()
