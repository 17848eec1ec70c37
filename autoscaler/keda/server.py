"""Serves KEDA's interface over gRPC.

Every error is a status with a message: INVALID_ARGUMENT for metadata, FAILED_PRECONDITION where something has
to be stated, UNAVAILABLE where the fleet or Redis cannot be read. The HPA then leaves the fleet as it is.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from autoscaler.keda.answer import MissingError, UnknownError
from autoscaler.keda.messages import METHODS, SERVICE
from autoscaler.keda.question import QuestionError
from autoscaler.keda.scaler import ScaledObject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from threading import Event

    from prometheus_client import Counter
    from structlog.typing import FilteringBoundLogger

    from autoscaler.keda.scaler import Scaler

METRIC = "celery-processes"
#: How long calls under way may take once the server is stopping.
_GRACE_SECONDS = 2.0
#: Each open stream is one: KEDA has one for each ScaledObject.
_MAX_CALLS = 500
_CODES = {
    QuestionError: grpc.StatusCode.INVALID_ARGUMENT,
    MissingError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownError: grpc.StatusCode.UNAVAILABLE,
}


class ListenError(OSError):
    """The address cannot be listened on."""


class Servicer:
    """The four methods. Reading Redis blocks, and so happens in a thread."""

    def __init__(
        self, scaler: Scaler, *, interval_seconds: float, calls: Counter, log: FilteringBoundLogger
    ) -> None:
        self._scaler = scaler
        self._interval_seconds = interval_seconds
        self._calls = calls
        self._log = log

    def handler(self) -> Any:
        """The methods as gRPC wants them."""
        methods = {
            "IsActive": self._is_active,
            "StreamIsActive": self._stream_is_active,
            "GetMetricSpec": self._get_metric_spec,
            "GetMetrics": self._get_metrics,
        }
        handlers = {}
        for name, method in METHODS.items():
            make = (
                grpc.unary_stream_rpc_method_handler
                if method.streams
                else grpc.unary_unary_rpc_method_handler
            )
            handlers[name] = make(
                methods[name],
                request_deserializer=method.request.FromString,
                response_serializer=method.response.SerializeToString,
            )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _is_active(self, request: Any, context: Any) -> Any:
        active = await self._answered(
            "IsActive", context, partial(self._scaler.is_active, _scaled_object(request))
        )
        return METHODS["IsActive"].response(result=active)

    async def _stream_is_active(self, request: Any, context: Any) -> AsyncIterator[Any]:
        before: bool | None = None
        while True:
            read = partial(self._scaler.is_active, _scaled_object(request))
            active: bool = await self._answered("StreamIsActive", context, read)
            if active != before:
                yield METHODS["StreamIsActive"].response(result=active)
                before = active
            await asyncio.sleep(self._interval_seconds)

    async def _get_metric_spec(self, request: Any, context: Any) -> Any:
        target: int = await self._answered(
            "GetMetricSpec", context, partial(self._scaler.target, _scaled_object(request))
        )
        spec = {"metricName": METRIC, "targetSize": target, "targetSizeFloat": float(target)}
        return METHODS["GetMetricSpec"].response(metricSpecs=[spec])

    async def _get_metrics(self, request: Any, context: Any) -> Any:
        scaled_object = _scaled_object(request.scaledObjectRef)

        def read() -> int:
            if request.metricName not in ("", METRIC):
                raise QuestionError(f"metric {request.metricName[:60]!r} is not known; there is {METRIC}")
            return self._scaler.answer(scaled_object).processes

        processes: int = await self._answered("GetMetrics", context, read)
        value = {"metricName": METRIC, "metricValue": processes, "metricValueFloat": float(processes)}
        return METHODS["GetMetrics"].response(metricValues=[value])

    async def _answered(self, method: str, context: Any, read: Callable[[], Any]) -> Any:
        """What ``read`` returns; where it raises, the call ends with a status."""
        try:
            found = await asyncio.to_thread(read)
        except tuple(_CODES) as fault:
            code = _CODES[type(fault)]
            self._calls.labels(method, code.name).inc()
            self._log.warning("keda.request_failed", method=method, code=code.name, why=str(fault))
            await context.abort(code, str(fault))
        self._calls.labels(method, "OK").inc()
        return found


def _scaled_object(reference: Any) -> ScaledObject:
    return ScaledObject(
        namespace=reference.namespace, name=reference.name, metadata=dict(reference.scalerMetadata)
    )


async def serve(
    servicer: Servicer, host: str, port: int, stop: Event, *, on_bound: Callable[[int], None]
) -> None:
    """Serve until ``stop`` is set; ``on_bound`` gets the port once it is bound.

    Raises:
        ListenError: where the address cannot be bound.
    """
    # Without: a second server would share the port and answer half of the calls.
    options = (("grpc.so_reuseport", 0),)
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MAX_CALLS)
    server.add_generic_rpc_handlers((servicer.handler(),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as fault:
        raise ListenError(str(fault)) from fault
    await server.start()
    on_bound(bound)
    try:
        await asyncio.to_thread(stop.wait)
    finally:
        await server.stop(_GRACE_SECONDS)
