"""The client's own spans of helper functions (8.14 and later), for who holds a function from before it was replaced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import Any

from elastic_transport import OpenTelemetrySpan
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.call import SILENT
from otel_search.elasticsearch.helper_span import Borrowed, HelperSpan, current_helper
from otel_search.elasticsearch.telemetry import Telemetry


class _Fallback:
    """The span of a helper that was imported before it could be replaced."""

    def __init__(self, helper: HelperSpan) -> None:
        self._helper = helper

    def __enter__(self) -> OpenTelemetrySpan:
        return _as_span(self._helper)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._helper.end(error)


def _as_span(helper: HelperSpan) -> OpenTelemetrySpan:
    span = OpenTelemetrySpan(None)
    span.otel_span = helper.span
    span.helper = helper  # type: ignore[attr-defined]
    return span


def helpers_span_hook(telemetry: Telemetry, tracer_of: Callable[[Any], Tracer | None]) -> Callable[..., Any]:
    """Makes the replacement of `OpenTelemetry.helpers_span`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def helpers_span(self: Any, span_name: str) -> Any:
            try:
                tracer = tracer_of(self) if is_instrumentation_enabled() else None
                if tracer is None:
                    return SILENT
                running = current_helper()
                if running is not None:
                    return nullcontext(_as_span(running))
                return _Fallback(HelperSpan(telemetry, tracer, span_name))
            except Exception:
                faults.report("starting a helper's span")
                return SILENT

        return helpers_span

    return make


def use_span_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the replacement of `OpenTelemetry.use_span`."""

    @functools.wraps(original)
    def use_span(self: Any, span: Any) -> Any:  # noqa: ARG001 (the client's)
        helper = getattr(span, "helper", None)
        if helper is None or current_helper() is helper:
            return nullcontext()
        return Borrowed(helper)

    return use_span
