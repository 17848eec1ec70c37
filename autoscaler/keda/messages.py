"""KEDA's interface to external scalers, described at run time.

Names and numbers are those of KEDA's ``externalscaler.proto``, as in ``deploy/keda/externalscaler.proto``; a
test holds the two together. Generated code would tie us to the protobuf release that generated it.
KEDA's ``StreamMetricSpec`` is optional, and left out: the target does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "externalscaler"
SERVICE = f"{_PACKAGE}.ExternalScaler"

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
    "int64": _FIELD.TYPE_INT64,
    "double": _FIELD.TYPE_DOUBLE,
}
#: Message: its fields in the order of their numbers, from 1, each with its type.
_MESSAGES = {
    "ScaledObjectRef": {
        "name": "string",
        "namespace": "string",
        "scalerMetadata": "repeated ScaledObjectRef.ScalerMetadataEntry",
    },
    "IsActiveResponse": {"result": "bool"},
    "GetMetricSpecResponse": {"metricSpecs": "repeated MetricSpec"},
    "MetricSpec": {"metricName": "string", "targetSize": "int64", "targetSizeFloat": "double"},
    "GetMetricsRequest": {"scaledObjectRef": "ScaledObjectRef", "metricName": "string"},
    "GetMetricsResponse": {"metricValues": "repeated MetricValue"},
    "MetricValue": {"metricName": "string", "metricValue": "int64", "metricValueFloat": "double"},
}
#: Method: what it takes, what it gives, and whether it gives a stream.
_METHODS = {
    "IsActive": ("ScaledObjectRef", "IsActiveResponse", False),
    "StreamIsActive": ("ScaledObjectRef", "IsActiveResponse", True),
    "GetMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", False),
    "GetMetrics": ("GetMetricsRequest", "GetMetricsResponse", False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method: the classes of its request and response."""

    request: Any
    response: Any
    streams: bool


def file_descriptor() -> Any:
    """The interface as a ``FileDescriptorProto``."""
    file = descriptor_pb2.FileDescriptorProto(name="externalscaler.proto", package=_PACKAGE, syntax="proto3")
    for name, shape in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(shape.items(), start=1):
            _add_field(message, field, number, kind)
    _add_map(file.message_type[0], "ScalerMetadataEntry")
    service = file.service.add(name=SERVICE.removeprefix(f"{_PACKAGE}."))
    for name, (takes, gives, streams) in _METHODS.items():
        method = service.method.add(
            name=name, input_type=f".{_PACKAGE}.{takes}", output_type=f".{_PACKAGE}.{gives}"
        )
        if streams:
            method.server_streaming = True
        method.options.SetInParent()
    return file


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    plain = kind.removeprefix("repeated ")
    label = _FIELD.LABEL_OPTIONAL if plain == kind else _FIELD.LABEL_REPEATED
    field = message.field.add(name=name, number=number, label=label, json_name=name)
    if plain in _SCALARS:
        field.type = _SCALARS[plain]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"


def _add_map(message: Any, name: str) -> None:
    entry = message.nested_type.add(name=name)
    for number, part in enumerate(("key", "value"), start=1):
        _add_field(entry, part, number, "string")
    entry.options.map_entry = True


def _methods() -> dict[str, Method]:
    # A pool of our own: whoever has loaded KEDA's file already keeps it.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file_descriptor())
    classes = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }
    return {
        name: Method(request=classes[takes], response=classes[gives], streams=streams)
        for name, (takes, gives, streams) in _METHODS.items()
    }


METHODS = _methods()
