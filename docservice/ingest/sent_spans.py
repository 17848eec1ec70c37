"""Spans of messages that were sent: when a document went to the queue, and who sent it.

The trace of a document is in its row, not in its message: a message is lost with its broker, and may be sent
several times, by other processes and after a retry. So each of them belongs to the trace of the upload.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from autoscaler.api import Span
from docservice.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.api import Traces
    from docservice.postgres.documents import Documents


class SentSpans:
    """Records a span for each document that was sent, where traces are recorded."""

    def __init__(self, traces: Traces, documents: Documents, *, queue: str) -> None:
        self._traces = traces
        self._documents = documents
        self._queue = queue

    async def add(self, ids: Sequence[int], *, by: str, begun: float) -> None:
        """These were sent ``by`` upload, sweeper or worker, from ``begun`` (epoch seconds) until now."""
        if not self._traces.enabled:
            return
        ended = time.time()
        try:
            parents = await self._documents.traceparents(ids)
        except Exception as fault:  # noqa: BLE001 - what is sent is sent, with or without a span
            logger("traces").warning("traces.sent_unknown", documents=len(ids), fault=type(fault).__name__)
            return
        for document_id, parent in parents.items():
            attributes: dict[str, str | int] = {
                "messaging.system": "redis",
                "messaging.operation.type": "send",
                "messaging.destination.name": self._queue,
                "docservice.document.id": document_id,
                "docservice.sent_by": by,
            }
            span = Span(
                name=f"send {self._queue}", kind="producer", begun=begun, ended=ended, attributes=attributes
            )
            self._traces.add(span, parent=parent)
