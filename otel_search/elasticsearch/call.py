"""One call of an Elasticsearch client, from its request to its end."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from elastic_transport import OpenTelemetrySpan
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer

from otel_search import semconv
from otel_search.elasticsearch import faults
from otel_search.elasticsearch.conclusion import conclude
from otel_search.elasticsearch.helper_span import release
from otel_search.elasticsearch.paths import endpoint_of
from otel_search.elasticsearch.request import BODIES_WITH_TARGETS, target_in
from otel_search.elasticsearch.telemetry import Operation, Telemetry

CURRENT: ContextVar[Call | None] = ContextVar("otel_search_elasticsearch_call", default=None)
"""The call that this context is in the middle of."""


# The part of the path that names the collection, where it is not `index`.
_COLLECTION_PARTS: dict[str | None, str] = {
    "indices.create_data_stream": "name",
    "indices.data_streams_stats": "name",
    "indices.delete_data_stream": "name",
    "indices.get_data_stream": "name",
    "indices.migrate_to_data_stream": "name",
    "indices.promote_data_stream": "name",
    "indices.rollover": "alias",
}


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
        parent: The context of the span above, if it is not the current one.

    Attributes:
        operation: What is known of this endpoint on this target.
        context: The context that the call's span is current in.
        started: When it started, by the performance counter.
        target: Path and query of the request, as the transport got it.
        body: The request's body before it was serialized.
        reply: The decoded body of the reply.
        status: The final HTTP status.
        node: Address of the node of the last attempt, as a base URL.
        retries: Attempts after the first.
        attempting: Whether an attempt is under way.
    """

    operation: Operation
    context: Context
    target: str | None = None
    body: Any = None
    reply: Any = None
    status: int | None = None
    cluster: str | None = None
    cluster_node: str | None = None
    node: tuple[str, int, str] | None = None
    retries = 0
    attempting = False
    recording = False
    _failed_attempt: tuple[Any, str, float] | None = None
    _token: Any = None
    _current: Any = None

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: Tracer,
        method: str,
        endpoint: str | None,
        parts: Mapping[str, str],
        address: tuple[str, int] | None,
        parent: Context | None = None,
    ) -> None:
        self.endpoint_id = endpoint
        self.body_strategy = "omit"
        self.otel_span: Span = INVALID_SPAN
        self.method = method
        self.parts = parts
        self.telemetry = telemetry
        self.address = address
        self._tracer = tracer
        self._parent = parent

    def __enter__(self) -> Self:
        self.started = perf_counter()
        try:
            parent = self._parent
            target = self.parts.get("index") or self.parts.get(_COLLECTION_PARTS.get(self.endpoint_id, ""))
            if target and "%" in target:
                target = unquote(target)
            telemetry = self.telemetry
            operation = self.operation = telemetry.operation(
                self.endpoint_id or self.method, target, self.address, self.method
            )
            span = self.otel_span = self._tracer.start_span(
                operation.span_name, parent, SpanKind.CLIENT, operation.attributes
            )
            self.recording = span.is_recording()
            context = trace.set_span_in_context(span, parent)
            if telemetry.is_alone:
                # HTTP client instrumentations beneath are suppressed in the same step: one call is one span.
                context = otel_context.set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, context)
            self.context = context
            self._current = CURRENT.set(self)
            self._token = otel_context.attach(context)
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
            conclude(self, error, perf_counter() - self.started)
        except Exception:
            faults.report("ending a span")
        finally:
            otel_context.detach(self._token)
            self.otel_span.end()
            if self.operation.name == "bulk":
                release(self.context)
            # Closed from another context than it was opened in: that context ends with it.
            with suppress(ValueError):
                CURRENT.reset(self._current)

    # -- what the transport hook tells ---------------------------------------------------------
    def sends(self, target: str, body: Any) -> None:
        """The request as the transport gets it."""
        self.target = target
        self.body = body
        if self.endpoint_id is None:
            try:
                self._name_by_path(target)
            except Exception:
                faults.report("reading a request")
        if self.operation.name in BODIES_WITH_TARGETS:
            try:
                self._name_by_body()
            except Exception:
                faults.report("reading a request")

    def _name_by_path(self, target: str) -> None:
        endpoint = endpoint_of(self.method, target)
        self.parts = endpoint.parts
        self._is(endpoint.operation, endpoint.parts.get("index"))

    def _name_by_body(self) -> None:
        if self.operation.family is None:
            target = target_in(self.operation.name, self.body)
            if target is not None:
                self._is(self.operation.name, target)

    def _is(self, endpoint: str, target: str | None) -> None:
        """The request has said what the client did not."""
        self.operation = self.telemetry.operation(endpoint, target, self.address, self.method)
        if self.recording:
            self.otel_span.update_name(self.operation.span_name)
            self.otel_span.set_attributes(self.operation.attributes)

    def receives(self, response: Any) -> None:
        """The decoded reply, before the client raises for its status."""
        try:
            self.reply = response.body
            self.status = response.meta.status
        except Exception:
            faults.report("reading a reply")

    def sniffed(self, response: Any, error: BaseException | None) -> None:
        """The transport has asked a node for all nodes, on the way of this call."""
        try:
            if self.recording and self.otel_span.is_recording():
                nodes = response.body.get("nodes") if response is not None else None
                found: dict[str, Any] = {semconv.SNIFF_NODES: len(nodes)} if isinstance(nodes, dict) else {}
                if error is not None:
                    found[semconv.ERROR_TYPE] = type(error).__name__
                self.otel_span.add_event(semconv.SNIFF_EVENT, found)
        except Exception:
            faults.report("reading a sniffed reply")

    # -- what the node hook tells --------------------------------------------------------------
    def attempt_begins(self, node: Any, headers: Any) -> None:
        """A request goes to `node`; `headers` belong to this call alone and may be added to."""
        self.attempting = True
        try:
            if self._failed_attempt is not None:
                self._retry(*self._failed_attempt)
                self._failed_attempt = None
            elif isinstance(headers, MutableMapping):
                self.telemetry.correlation.send(headers, self.otel_span.get_span_context())
            self._asked = node
        except Exception:
            faults.report("starting an attempt")

    def attempt_ends(self, reason: str) -> None:
        """The attempt is over: with a status, or with the name of an exception."""
        self.attempting = False
        self._failed_attempt = (self._asked, reason, perf_counter())

    def _retry(self, node: Any, reason: str, ended: float) -> None:
        """There is a further attempt, so the last one has failed."""
        self.retries += 1
        host, port = node.host, node.port
        known = self.telemetry.nodes(f"{host}:{port}")
        where = {semconv.SERVER_ADDRESS: host, semconv.SERVER_PORT: port}
        attributes = {semconv.DB_OPERATION: self.operation.name, semconv.RETRY_REASON: reason}
        bounded = where if known != semconv.OTHER else {semconv.SERVER_ADDRESS: known}
        self.telemetry.instruments.retries.add(1, attributes | bounded, self.context)
        if self.recording:
            self.otel_span.add_event(
                semconv.RETRY_EVENT,
                {
                    semconv.RETRY_ATTEMPT: self.retries,
                    semconv.RETRY_REASON: reason,
                    semconv.RETRY_DELAY: perf_counter() - ended,
                    **where,
                },
            )

    # -- the interface of elastic_transport.OpenTelemetrySpan ----------------------------------
    def set_node_metadata(self, host: str, port: int, base_url: str, *_: Any, **__: Any) -> None:
        """The node that the next attempt goes to."""
        self.node = (host, port, base_url)

    def set_elastic_cloud_metadata(self, headers: Mapping[str, str]) -> None:
        """Names of cluster and node, where a proxy of Elastic Cloud tells them."""
        try:
            self.cluster = headers.get("X-Found-Handling-Cluster")
            self.cluster_node = headers.get("X-Found-Handling-Instance")
        except Exception:
            faults.report("reading response headers")

    def set_db_statement(self, serialized_body: bytes) -> None:
        """Nothing: the query text comes from the body before it was serialized."""

    def set_db_response(self, status_code: int) -> None:
        """The final HTTP status."""
        self.status = status_code
