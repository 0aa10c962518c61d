"""OTLP export requests in their two encodings: binary protobuf and OTLP/JSON.

Decoding is strict about what would mislead a reader later (ids of the wrong length) and lenient
about what the protocol says to ignore (unknown fields).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ExportRequest = ExportTraceServiceRequest | ExportMetricsServiceRequest | ExportLogsServiceRequest

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
CONTENT_TYPES = (PROTOBUF, JSON)

# In OTLP/JSON these are hexadecimal, where protobuf's own JSON mapping has base64.
# https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
_ID_BYTES = {
    "traceId": 16,
    "trace_id": 16,
    "spanId": 8,
    "span_id": 8,
    "parentSpanId": 8,
    "parent_span_id": 8,
}
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]*", re.ASCII)


@dataclass(frozen=True)
class Endpoint:
    """One of the three OTLP services: its path and its message types."""

    path: str
    request: type[ExportRequest]
    response: type[Message]


ENDPOINTS = (
    Endpoint("/v1/traces", ExportTraceServiceRequest, ExportTraceServiceResponse),
    Endpoint("/v1/metrics", ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    Endpoint("/v1/logs", ExportLogsServiceRequest, ExportLogsServiceResponse),
)


MAX_ITEM = 1024 * 1024
"""Bytes of one span, log record or metric; larger ones are rejected, and the rest of their request is taken."""


class MalformedError(ValueError):
    """The body is not an OTLP export request; the message says where it goes wrong."""


def decode(endpoint: Endpoint, content_type: str, body: bytes) -> ExportRequest:
    """Decode the body of an export request.

    Args:
        endpoint: The service that the body was sent to.
        content_type: One of `CONTENT_TYPES`.
        body: The body, without content encoding.

    Returns:
        The request, all its ids empty or of the right length.

    Raises:
        MalformedError: If the body is no such request.
    """
    message = endpoint.request()
    try:
        if content_type == JSON:
            json_format.ParseDict(_loads(body), message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (json_format.ParseError, DecodeError, RecursionError) as error:
        raise MalformedError(f"no {endpoint.request.DESCRIPTOR.name}: {str(error)[-500:]}") from error
    check(message)
    return message


def check(request: ExportRequest) -> None:
    """Check what would mislead a reader later: that ids are empty or of the right length.

    Raises:
        MalformedError: If one is not.
    """
    for name, value, length in _ids(request):
        if len(value) not in (0, length):
            raise MalformedError(f"{name} has {len(value)} bytes; accepted: {length}")


def accept(endpoint: Endpoint, request: ExportRequest) -> Message:
    """Take out of a request what is too large to keep, and make the response that says so.

    Args:
        endpoint: The service that the request was sent to.
        request: Is changed: items of more than `MAX_ITEM` bytes are removed.

    Returns:
        The response; with a partial success if something was removed.
    """
    response = endpoint.response()
    if request.ByteSize() <= MAX_ITEM:
        return response
    rejected = 0
    for items in _items(request):
        for position in reversed(range(len(items))):
            if items[position].ByteSize() > MAX_ITEM:
                rejected += _count(items[position])
                del items[position]
    if rejected:
        partial = response.partial_success
        setattr(partial, next(field.name for field in partial.DESCRIPTOR.fields if field.number == 1), rejected)
        partial.error_message = f"larger than {MAX_ITEM} bytes: {rejected}"
    return response


def _items(request: ExportRequest) -> Iterator[Any]:
    if isinstance(request, ExportTraceServiceRequest):
        yield from (scope.spans for resource in request.resource_spans for scope in resource.scope_spans)
    elif isinstance(request, ExportLogsServiceRequest):
        yield from (scope.log_records for resource in request.resource_logs for scope in resource.scope_logs)
    else:
        yield from (scope.metrics for resource in request.resource_metrics for scope in resource.scope_metrics)


def _count(item: Any) -> int:
    # Metrics are rejected by the number of their data points.
    if "data" not in item.DESCRIPTOR.oneofs_by_name:
        return 1
    kind = item.WhichOneof("data")
    return len(getattr(item, kind).data_points) if kind else 0


def encode(message: Message, content_type: str) -> bytes:
    """Encode a response or a `Status` as `content_type`, which is one of `CONTENT_TYPES`."""
    if content_type == JSON:
        return orjson.dumps(json_format.MessageToDict(message))
    return bytes(message.SerializeToString())


def status(text: str) -> Status:
    """The body of an answer that refuses a request. OTLP leaves the code unused."""
    return Status(message=text)


def _loads(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedError(f"the body is a JSON {type(document).__name__}; accepted: an object")
    _hexadecimal_to_base64(document)
    return document


def _hexadecimal_to_base64(document: dict[str, Any]) -> None:
    # Attribute names are values in OTLP/JSON (`{"key": …}`), so a member with one of these names
    # is always an id. A loop and not a recursion: the depth is the sender's choice.
    pending: list[Any] = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
            continue
        if not isinstance(item, dict):
            continue
        for name, value in item.items():
            length = _ID_BYTES.get(name)
            if length is None:
                pending.append(value)
            elif isinstance(value, str) and value:
                if len(value) != 2 * length or not _HEXADECIMAL.fullmatch(value):
                    raise MalformedError(f"{name} is {value[:64]!r}; accepted: {2 * length} hexadecimal digits")
                item[name] = base64.b64encode(bytes.fromhex(value)).decode()


def _ids(message: ExportRequest) -> Iterator[tuple[str, bytes, int]]:
    if isinstance(message, ExportTraceServiceRequest):
        carriers = _spans_and_links(message)
    elif isinstance(message, ExportLogsServiceRequest):
        carriers = _log_records(message)
    else:
        carriers = _exemplars(message)
    for carrier in carriers:
        yield "trace_id", carrier.trace_id, 16
        yield "span_id", carrier.span_id, 8
        yield "parent_span_id", getattr(carrier, "parent_span_id", b""), 8


def _spans_and_links(message: ExportTraceServiceRequest) -> Iterator[Any]:
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield span
                yield from span.links


def _log_records(message: ExportLogsServiceRequest) -> Iterator[Any]:
    for resource_logs in message.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records


def _exemplars(message: ExportMetricsServiceRequest) -> Iterator[Any]:
    for resource_metrics in message.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind is not None and kind != "summary":
                    for point in getattr(metric, kind).data_points:
                        yield from point.exemplars
