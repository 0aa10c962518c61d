"""Spans that are started for a caller say so from their start."""

from __future__ import annotations

import weakref
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from otel_search.context import CALLER

_described: weakref.WeakSet[Any] = weakref.WeakSet()


class _CallerSpans(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the interface's
        caller = CALLER.get()
        if caller is not None and caller.attributes:
            span.set_attributes(caller.attributes)


def describe_spans() -> None:
    """Let the spans of this process's provider carry their caller, from the first caller on who is known."""
    provider: Any = trace.get_tracer_provider()
    if provider not in _described and hasattr(provider, "add_span_processor"):
        _described.add(provider)
        provider.add_span_processor(_CallerSpans())
