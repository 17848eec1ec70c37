"""Whether traces are sent, by the standard variables of OpenTelemetry, and what starts them.

Off by default: traces are sent where ``OTEL_TRACES_EXPORTER`` names an exporter or an OTLP endpoint is given,
and ``OTEL_SDK_DISABLED`` is not ``true``. Everything else the SDK reads for itself. Without the variables
nothing of it is imported.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autoscaler.report.spans import NoTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.report.spans import Traces

_DISTRIBUTION = "celery-pool-autoscaler"
_EXPORTERS = ("otlp", "console")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def traces_fault(environment: Mapping[str, str]) -> str | None:
    """Why traces that are asked for are not sent, in one line; None where they are sent or not asked for."""
    exporter = _exporter(environment)
    if exporter is None:
        return None
    if exporter not in _EXPORTERS:
        return f"OTEL_TRACES_EXPORTER is {exporter!r}; it must be otlp, console or none"
    given = [(name, environment[name].strip()) for name in _PROTOCOLS if environment.get(name, "").strip()]
    if exporter == "otlp" and given and given[0][1] != _PROTOCOL:
        name, protocol = given[0]
        return f"{name} is {protocol!r}; only {_PROTOCOL} can be used"
    if not all(_is_installed(name) for name in _NEEDED):
        return f"the extra otel is not installed; run: pip install '{_DISTRIBUTION}[otel]'"
    return None


def start_traces(
    environment: Mapping[str, str], *, service: str, say: Callable[[str, Mapping[str, Any]], None]
) -> Traces:
    """Traces of ``service`` where they are asked for and can be sent, else none.

    After a fork start them anew. ``say`` gets an event and its fields: spans are lost, or sent again.
    """
    exporter = _exporter(environment)
    if exporter is None or traces_fault(environment) is not None:
        return NoTraces()
    named = bool(environment.get("OTEL_SERVICE_NAME")) or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    try:
        from autoscaler.report.otel import make  # noqa: PLC0415 - only where traces are asked for

        return make(exporter=exporter, service=service, version=version(_DISTRIBUTION), named=named, say=say)
    except Exception as fault:  # noqa: BLE001 - whatever the SDK refuses: the work goes on without traces
        say("traces.off", {"why": f"{type(fault).__name__}: {fault}"})
        return NoTraces()


def _exporter(environment: Mapping[str, str]) -> str | None:
    """The exporter that is asked for; None for none."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not name and any(environment.get(endpoint, "").strip() for endpoint in _ENDPOINTS):
        name = "otlp"
    return None if name in ("", "none") else name


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
