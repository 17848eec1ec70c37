"""Serves KEDA's interface over gRPC.

Every error is a status with a message: INVALID_ARGUMENT for metadata, FAILED_PRECONDITION where something has
to be stated, UNAVAILABLE where the fleet or Redis cannot be read, UNAUTHENTICATED without the token,
RESOURCE_EXHAUSTED for a stream too many. The HPA then leaves the fleet as it is.
"""

from __future__ import annotations

import asyncio
import hmac
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from autoscaler.keda.answer import MissingError, UnknownError
from autoscaler.keda.messages import METHODS, SERVICE
from autoscaler.keda.question import TOKEN_KEYS, QuestionError
from autoscaler.keda.scaler import ScaledObject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from threading import Event

    from prometheus_client import Counter
    from structlog.typing import FilteringBoundLogger

    from autoscaler.keda.certificates import Certificates
    from autoscaler.keda.scaler import Scaler

METRIC = "celery-processes"
#: How long calls under way may take once the server is stopping.
_GRACE_SECONDS = 2.0
#: KEDA has one for each ScaledObject. One more is refused with words.
MAX_STREAMS = 500
#: Beside the streams, so that calls go on while all of those are open.
_MAX_CALLS = 2 * MAX_STREAMS
#: A peer that is gone with its node and without a word is noticed: its streams would count as KEDA's calls.
_KEEPALIVE_SECONDS, _KEEPALIVE_TIMEOUT_SECONDS = 60.0, 20.0
#: A call waits for Redis, and for a look at the fleet that all of them share.
_MAX_THREADS = 32


class TokenError(Exception):
    """A call without the token that the scaler has."""


class ListenError(OSError):
    """The address cannot be listened on."""


_CODES = {
    QuestionError: grpc.StatusCode.INVALID_ARGUMENT,
    MissingError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownError: grpc.StatusCode.UNAVAILABLE,
    TokenError: grpc.StatusCode.UNAUTHENTICATED,
}


class Servicer:
    """The four methods. Reading Redis blocks, and so happens in a thread."""

    def __init__(
        self,
        scaler: Scaler,
        *,
        interval_seconds: float,
        calls: Counter,
        log: FilteringBoundLogger,
        read_token: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._scaler = scaler
        self._read_token = read_token
        self._streams = 0
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
        read = partial(self._scaler.is_active, _scaled_object(request))
        active = await self._answered("IsActive", context, request, read)
        return METHODS["IsActive"].response(result=active)

    async def _stream_is_active(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if self._streams >= MAX_STREAMS:
            why = f"{MAX_STREAMS} streams are open and no more are served; use the trigger type external"
            await self._refuse("StreamIsActive", context, grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        self._streams += 1
        try:
            async for active in self._activity(request, context):
                yield METHODS["StreamIsActive"].response(result=active)
        finally:
            self._streams -= 1

    async def _activity(self, request: Any, context: Any) -> AsyncIterator[bool]:
        """Whether there is work, each time that it changes."""
        before: bool | None = None
        while True:
            # A look of its own only to say that the work has ended: idle streams share those of the fleet.
            read = partial(self._scaler.is_active, _scaled_object(request), anew=before is not False)
            active: bool = await self._answered("StreamIsActive", context, request, read)
            if active != before:
                yield active
                before = active
            await asyncio.sleep(self._interval_seconds)

    async def _get_metric_spec(self, request: Any, context: Any) -> Any:
        target: int = await self._answered(
            "GetMetricSpec", context, request, partial(self._scaler.target, _scaled_object(request))
        )
        spec = {"metricName": METRIC, "targetSize": target, "targetSizeFloat": float(target)}
        return METHODS["GetMetricSpec"].response(metricSpecs=[spec])

    async def _get_metrics(self, request: Any, context: Any) -> Any:
        scaled_object = _scaled_object(request.scaledObjectRef)

        def read() -> int:
            if request.metricName not in ("", METRIC):
                raise QuestionError(f"metric {request.metricName[:60]!r} is not known; there is {METRIC}")
            return self._scaler.answer(scaled_object).processes

        processes: int = await self._answered("GetMetrics", context, request.scaledObjectRef, read)
        value = {"metricName": METRIC, "metricValue": processes, "metricValueFloat": float(processes)}
        return METHODS["GetMetrics"].response(metricValues=[value])

    async def _answered(self, method: str, context: Any, reference: Any, read: Callable[[], Any]) -> Any:
        """What ``read`` returns; where it raises, the call ends with a status."""
        metadata = dict(reference.scalerMetadata)
        given = [metadata[key] for key in TOKEN_KEYS if key in metadata]
        bearer = dict(context.invocation_metadata() or ()).get("authorization", "")

        def allowed() -> Any:
            token = self._read_token()
            if token is not None and not _is_given(token, [*given, bearer.removeprefix("Bearer ")]):
                raise TokenError(
                    "the token is missing or wrong; give metadata tokenFromEnv: VARIABLE, a variable of the"
                    " workers' container that holds it"
                )
            return read()

        try:
            found = await asyncio.to_thread(allowed)
        except tuple(_CODES) as fault:
            await self._refuse(method, context, _CODES[type(fault)], str(fault))
        self._calls.labels(method, "OK").inc()
        return found

    async def _refuse(self, method: str, context: Any, code: grpc.StatusCode, why: str) -> None:
        self._calls.labels(method, code.name).inc()
        self._log.warning("keda.request_failed", method=method, code=code.name, why=why)
        await context.abort(code, why)


def _is_given(token: str, words: Iterable[str]) -> bool:
    """Whether one of the words is the token; every one is compared, in a time that tells nothing.

    An empty token is nobody's: a call without one has given it.
    """
    found = [hmac.compare_digest(token.encode(), word.encode()) for word in words]
    return bool(token) and any(found)


def _scaled_object(reference: Any) -> ScaledObject:
    metadata = {key: value for key, value in reference.scalerMetadata.items() if key not in TOKEN_KEYS}
    return ScaledObject(namespace=reference.namespace, name=reference.name, metadata=metadata)


async def serve(
    servicer: Servicer,
    address: tuple[str, int],
    stop: Event,
    *,
    tls: Certificates | None,
    on_bound: Callable[[int], None],
    keepalive_seconds: tuple[float, float] = (_KEEPALIVE_SECONDS, _KEEPALIVE_TIMEOUT_SECONDS),
) -> None:
    """Serve on HOST and PORT until ``stop`` is set; ``on_bound`` gets the port once it is bound.

    ``keepalive_seconds`` are after how much silence a peer is pinged, and how long it may take to answer.

    Raises:
        ListenError: where the address cannot be bound.
        OSError: where a certificate cannot be read.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_MAX_THREADS, "call"))
    host, port = address
    ping_ms, answer_ms = (round(1000 * seconds) for seconds in keepalive_seconds)
    options = (
        ("grpc.so_reuseport", 0),  # else a second server would share the port and answer half of the calls
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", answer_ms),
        ("grpc.http2.ping_timeout_ms", answer_ms),  # it is this one that ends the connection
    )
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MAX_CALLS)
    server.add_generic_rpc_handlers((servicer.handler(),))
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            bound = server.add_insecure_port(where)
        else:
            bound = server.add_secure_port(where, tls.credentials())
    except RuntimeError as fault:
        raise ListenError(str(fault)) from fault
    await server.start()
    on_bound(bound)
    try:
        await asyncio.to_thread(stop.wait)
    finally:
        await server.stop(_GRACE_SECONDS)
