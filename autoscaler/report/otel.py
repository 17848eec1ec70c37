"""Traces over the OpenTelemetry SDK: batches in a thread of their own, sent by OTLP over HTTP.

The only module that imports the SDK; nothing imports it unless traces are asked for. The SDK reads the
standard variables itself: endpoint, headers, timeouts, sampler, batches, resource. Its own log lines are held
back, since they repeat for each batch and may quote headers; a change of what becomes of spans is said once.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span as SdkSpan

    from autoscaler.report.spans import ActiveSpan, Attribute, Kind, Span

_NANOSECONDS = 1_000_000_000
_W3C = TraceContextTextMapPropagator()


class _Exporter(SpanExporter):
    """Exports by ``inner``, and says when spans begin to be lost and when they arrive again."""

    def __init__(self, inner: SpanExporter, say: Callable[[bool], None]) -> None:
        self._inner = inner
        self._say = say
        self._arrives = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans; a fault of any kind loses them and nothing else."""
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - whatever a client library raises
            result = SpanExportResult.FAILURE
        arrives = result is SpanExportResult.SUCCESS
        if arrives != self._arrives:
            self._arrives = arrives
            self._say(arrives)
        return result

    def shutdown(self) -> None:
        """Give up what is being tried."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._inner.force_flush(timeout_millis)


class _Active:
    """A span of the SDK that has not ended."""

    def __init__(self, span: SdkSpan) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._span.update_name(name)

    def set(self, name: str, value: Attribute) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def fail(self) -> None:
        """Mark it as an error."""
        self._span.set_status(Status(StatusCode.ERROR))


class OtelTraces:
    """Records spans over a provider of its own; the global one is left to whoever else uses it."""

    enabled = True

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("celery-pool-autoscaler")

    def add(self, span: Span, *, parent: str | None = None) -> None:
        """Record a span that has ended, with its children."""
        self._add(span, _context(parent) or Context())

    def _add(self, span: Span, context: Context) -> None:
        recorded = self._tracer.start_span(
            span.name,
            context=context,
            kind=SpanKind[span.kind.upper()],
            attributes=dict(span.attributes),
            start_time=_nanoseconds(span.begun),
        )
        if span.failed:
            recorded.set_status(Status(StatusCode.ERROR))
        for child in span.children:
            self._add(child, set_span_in_context(recorded, Context()))
        recorded.end(_nanoseconds(span.ended))

    @contextmanager
    def span(
        self, name: str, kind: Kind, *, parent: str | None = None, begun: float | None = None
    ) -> Iterator[ActiveSpan]:
        """A span for the time of the block."""
        recorded = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=SpanKind[kind.upper()],
            start_time=None if begun is None else _nanoseconds(begun),
        )
        try:
            # The SDK would record the exception's text and trace, which may hold values.
            with use_span(recorded, record_exception=False, set_status_on_exception=False):
                yield _Active(recorded)
        except BaseException as fault:
            recorded.set_status(Status(StatusCode.ERROR))
            recorded.set_attribute("error.type", type(fault).__name__)
            raise
        finally:
            recorded.end()

    def traceparent(self) -> str | None:
        """The current span for another process."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def close(self, *, within_seconds: float) -> None:
        """Send what is left. The SDK's own end waits for a collector that does not answer."""
        ending = Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(within_seconds)
        if ending.is_alive():
            self._exporter.shutdown()


def _context(parent: str | None) -> Context | None:
    """The context that ``parent`` names; an illegal one names none."""
    return None if parent is None else _W3C.extract({"traceparent": parent}, context=Context())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


def make(
    *, exporter: str, service: str, version: str, named: bool, say: Callable[[str, Mapping[str, Any]], None]
) -> OtelTraces:
    """Traces that are sent by ``exporter``, ``otlp`` or ``console``. Its thread starts here.

    ``service`` is the name of the service unless a variable gives another (``named``).
    """
    faults = _Faults()
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(faults)
    logger.propagate = False
    inner: SpanExporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
    attributes = {SERVICE_VERSION: version} if named else {SERVICE_VERSION: version, SERVICE_NAME: service}
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    watched = _Exporter(inner, lambda arrives: say("traces.sent" if arrives else "traces.lost", {}))
    provider.add_span_processor(BatchSpanProcessor(watched))
    logger.removeHandler(faults)
    logger.addHandler(logging.NullHandler())
    for text in faults.texts:
        say("traces.setting_ignored", {"why": text})
    return OtelTraces(provider, watched)


class _Faults(logging.Handler):
    """Collects what the SDK says of the variables, without the values: a header is a secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text before its first value."""
        self.texts.append(" ".join(str(record.msg).partition("%")[0].split()))
