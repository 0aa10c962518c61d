"""The metrics of HTTP requests, where the maker of the span does not measure them as it should."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from opentelemetry import metrics

from otel_search import semconv
from otel_search.middleware.access import error_type
from otel_search.middleware.state import CURRENT, RequestState, Scope

Attributes = dict[str, Any]


class ServerMetrics:
    """`http.server.request.duration` and `http.server.active_requests`, up to the last byte of a response.

    Contrib's own include background tasks, and miss the status code of an error that the server answers.

    Args:
        known_method: Gives a request method a name of bounded cardinality.
    """

    def __init__(self, known_method: Callable[[str], str]) -> None:
        meter = metrics.get_meter(semconv.SCOPE)
        self._duration = StreamAwareHistogram(semconv.HTTP_DURATION.on(meter))
        self._active = semconv.HTTP_ACTIVE.on(meter)
        self._known_method = known_method

    def start(self, scope: Scope) -> Attributes:
        """Count a request in; its attributes are for `end`."""
        attributes: Attributes = {
            semconv.HTTP_REQUEST_METHOD: self._known_method(scope["method"]),
            semconv.URL_SCHEME: scope.get("scheme", "http"),
        }
        self._active.add(1, attributes)
        return attributes

    def end(self, scope: Scope, state: RequestState, active: Attributes) -> None:
        """Count a request out, and let its span name the same error as the metric."""
        attributes: Attributes = {**active, semconv.PROTOCOL_VERSION: scope.get("http_version", "1.1")}
        if state.route is not None:
            attributes[semconv.HTTP_ROUTE] = state.route
        if state.status is not None:
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = state.status
        error = error_type(state)
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error
            if state.span is not None and state.span.is_recording():
                state.span.set_attribute(semconv.ERROR_TYPE, error)
        self._duration.record(perf_counter() - state.started, attributes, state.context)
        self._active.add(-1, active)


class StreamAwareHistogram:
    """A histogram of durations that labels server-sent events, whose sessions are no latencies.

    Args:
        histogram: Where the measurements go.
    """

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram

    def record(self, amount: float, attributes: Attributes | None = None, context: Any = None) -> None:
        """Record the duration of the request that is being served."""
        state = CURRENT.get()
        if state is not None and state.stream:
            attributes = {**(attributes or {}), semconv.RESPONSE_STREAM: True}
        if state is not None and state.left:
            attributes = {**(attributes or {}), semconv.CLIENT_LEFT: True}
        self._histogram.record(amount, attributes, context)
