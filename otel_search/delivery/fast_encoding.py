"""Our encoder in the exporters that OpenTelemetry brings for OTLP over HTTP."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from otel_search import encoding


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


def _or_upstream(encode: Callable[[Any], bytes], upstream: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(upstream)
    def encoding_batch(batch: Any) -> Any:
        try:
            return _Encoded(encode(batch))
        except Exception:
            return upstream(batch)

    return encoding_batch
