"""Log lines on alerts: each belongs to the trace of a request that the alert is about, if one is known."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

_logger = logging.getLogger("otel_search.alerts")


def say(level: int, event: str, *arguments: object, trace_id: str = "", span_id: str = "", **fields: Any) -> None:
    """Log one line, outside of the context without telemetry that alerts are evaluated in.

    Args:
        level: As in `logging`.
        event: What has happened, with places for `arguments` as in `logging`.
        *arguments: What stands in these places.
        trace_id: The trace that it belongs to, 32 hexadecimal digits, or nothing.
        span_id: The span in it.
        **fields: More fields; names with dots are given as a mapping.
    """
    context = otel_context.Context()
    if trace_id:
        span = trace.SpanContext(
            int(trace_id, 16), int(span_id or "1", 16), is_remote=True, trace_flags=trace.TraceFlags(1)
        )
        context = trace.set_span_in_context(trace.NonRecordingSpan(span), context)
    token = otel_context.attach(context)
    try:
        _logger.log(level, event, *arguments, extra={"otel_search_fields": fields})
    finally:
        otel_context.detach(token)
