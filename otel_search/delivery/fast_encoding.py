"""Our encoder in the exporters that OpenTelemetry brings for OTLP over HTTP."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from otel_search import encoding

Encode = Callable[[Any], encoding.Encoded]
"""Encodes a span or log record that is complete; raises where upstream's encoder has to serve."""


class _Encoded:
    """Bytes in the place of the protobuf message that upstream's exporters would serialize."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes."""
        return self._data

    SerializePartialToString = SerializeToString


def encode_faster() -> None:
    """Let the OTLP/HTTP exporters use our encoder; a batch that it refuses goes to theirs."""
    from opentelemetry.exporter.otlp.proto.http import _log_exporter, trace_exporter

    for module, name, encode in (
        (trace_exporter, "encode_spans", encoding.spans),
        (_log_exporter, "encode_logs", encoding.log_records),
    ):
        upstream = getattr(module, name, None)
        if upstream is not None and not hasattr(upstream, "__wrapped__"):
            setattr(module, name, _or_upstream(encode, upstream))


def encoder_of(exporter: Any) -> Encode | None:
    """What encodes single items for `exporter`, or `None` if it has to get them as they are."""
    from opentelemetry.exporter.otlp.proto.http import _log_exporter, trace_exporter

    for module, name, kind, encode in (
        (trace_exporter, "encode_spans", "OTLPSpanExporter", encoding.encoded_span),
        (_log_exporter, "encode_logs", "OTLPLogExporter", encoding.encoded_log_record),
    ):
        if type(exporter) is getattr(module, kind, None) and hasattr(getattr(module, name, None), "__wrapped__"):
            return encode
    return None


def _or_upstream(encode: Callable[[Any], bytes], upstream: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(upstream)
    def encoding_batch(batch: Any) -> Any:
        try:
            return _Encoded(encode(batch))
        except Exception:
            ready = [item for item in batch if type(item) is encoding.Encoded]
            rest = [item for item in batch if type(item) is not encoding.Encoded]
            # Concatenated messages are one message with the fields of both.
            return _Encoded(encode(ready) + upstream(rest).SerializeToString())

    return encoding_batch
