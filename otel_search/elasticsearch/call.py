"""One call of an Elasticsearch client, from its request to its end: one span and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from elastic_transport import HttpHeaders, OpenTelemetrySpan
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer

from otel_search import semconv
from otel_search.elasticsearch import faults
from otel_search.elasticsearch.errors import error_type
from otel_search.elasticsearch.paths import endpoint_of
from otel_search.elasticsearch.request import query_text, templated_url
from otel_search.elasticsearch.telemetry import Telemetry

_ERROR = Status(StatusCode.ERROR)


class SilentCall(OpenTelemetrySpan):
    """A call without telemetry: switched off by the user, or part of a suppressed request.

    Its span is the invalid one and not `None`, which keeps other instrumentations of the transport silent too.
    """

    def __init__(self) -> None:
        self.otel_span = INVALID_SPAN
        self.endpoint_id = None
        self.body_strategy = "omit"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


SILENT = SilentCall()


class Call(OpenTelemetrySpan):
    """The span of one call, in the interface that elastic_transport expects.

    Every method of that interface is overridden: attribute names are the same with all versions
    of the libraries, and what they record is free of the user's data.

    Args:
        telemetry: What all calls share.
        tracer: The client's own tracer, so that a provider of the user's is kept.
        method: The HTTP method.
        endpoint: The endpoint's name in the client's API, or `None` if the client does not say.
        parts: The parts of the request's path by name.
        address: Host and port of the node that is likely to be asked, if known.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: Tracer,
        method: str,
        endpoint: str | None,
        parts: Mapping[str, str],
        address: tuple[str, int] | None,
    ) -> None:
        self.endpoint_id = endpoint
        self.body_strategy = "omit"
        self.otel_span: Span = INVALID_SPAN
        self.method = method
        self.parts = parts
        self.status: int | None = None
        self._telemetry = telemetry
        self._tracer = tracer
        self._address = address
        self._token: Any = None

    def __enter__(self) -> Self:
        self._start = perf_counter()
        try:
            parts = self.parts
            target = parts.get("index") if parts else None
            if target and "%" in target:
                target = unquote(target)
            self._operation = self._telemetry.operation(self.endpoint_id or self.method, target, self._address)
            self.otel_span = self._tracer.start_span(
                self._operation.span_name, kind=SpanKind.CLIENT, attributes=self._operation.attributes
            )
            self.recording = self.otel_span.is_recording()
            # HTTP client instrumentations beneath are suppressed in the same step: one call is one span.
            self._context: Context = otel_context.set_value(
                _SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, trace.set_span_in_context(self.otel_span)
            )
            self._token = otel_context.attach(self._context)
        except Exception:
            self.recording = False
            faults.report("starting a span")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        try:
            self._finish(error)
        except Exception:
            faults.report("ending a span")
        finally:
            otel_context.detach(self._token)
            self.otel_span.end()

    def _finish(self, error: BaseException | None) -> None:
        duration = perf_counter() - self._start
        attributes = self._operation.metric_attributes.copy()
        if self.status is not None:
            attributes[semconv.DB_STATUS_CODE] = str(self.status)
        failure = None if error is None else error_type(error)
        if failure is not None:
            attributes[semconv.ERROR_TYPE] = failure
            if self.recording:
                self.otel_span.set_attribute(semconv.ERROR_TYPE, failure)
                self.otel_span.set_status(_ERROR)
        self._telemetry.duration.record(duration, attributes, self._context)

    # -- what the transport hook tells ---------------------------------------------------------
    def sends(self, target: str, arguments: dict[str, Any]) -> None:
        """The request as the transport gets it; `arguments` are the keyword arguments, and may be changed."""
        try:
            if self.endpoint_id is None:
                self._name_by_path(target)
            if self.recording and self._telemetry.records_text:
                text = query_text(self._operation.name, arguments.get("body"), raw=self._telemetry.raw_text)
                if text is not None:
                    self.otel_span.set_attribute(semconv.DB_QUERY_TEXT, text)
        except Exception:
            faults.report("reading a request")
        try:
            if self._telemetry.sends_traceparent:
                self._send_traceparent(arguments)
        except Exception:
            faults.report("adding traceparent")

    def _name_by_path(self, target: str) -> None:
        endpoint = endpoint_of(self.method, target)
        self.parts = endpoint.parts
        self._operation = self._telemetry.operation(endpoint.operation, endpoint.parts.get("index"), self._address)
        if self.recording:
            self.otel_span.update_name(self._operation.span_name)
            self.otel_span.set_attributes(self._operation.attributes)

    def _send_traceparent(self, arguments: dict[str, Any]) -> None:
        # The W3C header alone: a foreign tracestate or baggage of some kilobytes must not make
        # Elasticsearch refuse the call.
        span = self.otel_span.get_span_context()
        if not span.is_valid:
            return
        given = arguments.get("headers")
        headers = HttpHeaders(given if isinstance(given, Mapping) else ())
        if "traceparent" not in headers:
            headers["traceparent"] = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"
            arguments["headers"] = headers

    # -- the interface of elastic_transport.OpenTelemetrySpan ----------------------------------
    def set_node_metadata(self, host: str, port: int, base_url: str, target: str, method: str | None = None) -> None:
        """The node that the next attempt goes to."""
        if not self.recording:
            return
        try:
            self.otel_span.set_attributes(
                {
                    semconv.HTTP_REQUEST_METHOD: method or self.method,
                    semconv.SERVER_ADDRESS: host,
                    semconv.SERVER_PORT: port,
                    semconv.URL_FULL: templated_url(base_url, target, self.parts),
                }
            )
        except Exception:
            faults.report("reading a node")

    def set_elastic_cloud_metadata(self, headers: Mapping[str, str]) -> None:
        """Names of cluster and node, where a proxy of Elastic Cloud tells them."""
        if not self.recording:
            return
        try:
            cluster = headers.get("X-Found-Handling-Cluster")
            if cluster is not None:
                self.otel_span.set_attribute(semconv.DB_NAMESPACE, cluster)
            node = headers.get("X-Found-Handling-Instance")
            if node is not None:
                self.otel_span.set_attribute(semconv.ELASTICSEARCH_NODE, node)
        except Exception:
            faults.report("reading response headers")

    def set_db_statement(self, serialized_body: bytes) -> None:
        """Nothing: the query text comes from the body before it was serialized."""

    def set_db_response(self, status_code: int) -> None:
        """The final HTTP status."""
        self.status = status_code
        if self.recording:
            self.otel_span.set_attribute(semconv.DB_STATUS_CODE, str(status_code))

    def receives(self, response: Any) -> None:
        """The decoded reply, before the client raises for its status."""
        try:
            if self.status is None:
                # elastic_transport below 8.14 does not tell, nor any version after a last attempt without answer.
                self.set_db_response(response.meta.status)
        except Exception:
            faults.report("reading a reply")
