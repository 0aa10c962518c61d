"""What Elasticsearch is told about the caller: `traceparent` and `X-Opaque-Id`."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from otel_search.context import REQUEST_ID
from otel_search.settings import Settings

_TRACEPARENT = "traceparent"
_OPAQUE_ID = "x-opaque-id"
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]+")


class Correlation:
    """Adds the headers that the settings ask for to a request.

    Args:
        settings: The effective settings.
        tracer_provider: Knows the name of the service; the global provider if `None`.
    """

    def __init__(self, settings: Settings, tracer_provider: Any = None) -> None:
        self._traceparent = settings.elasticsearch_traceparent
        self._opaque_id = settings.elasticsearch_opaque_id
        self._tracer_provider = tracer_provider
        self._service: str | None = None

    def send(self, headers: MutableMapping[str, str], span: SpanContext) -> None:
        """Add what is not there yet.

        The W3C header goes alone: a foreign `tracestate` or baggage of some kilobytes must not make Elasticsearch
        refuse the call.

        Args:
            headers: The headers of one request, not shared with others.
            span: The context of the call's span.
        """
        if self._traceparent and span.is_valid and _TRACEPARENT not in headers:
            headers[_TRACEPARENT] = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"
        if self._opaque_id and _OPAQUE_ID not in headers:
            service, request = self._service or self._find_service(), REQUEST_ID.get()
            if service or request:
                headers[_OPAQUE_ID] = f"{service}/{request}" if request and service else request or service

    def _find_service(self) -> str:
        provider = self._tracer_provider or trace.get_tracer_provider()
        resource = getattr(provider, "resource", None)
        if resource is None:
            # The application has not made its provider yet, or telemetry is off.
            return ""
        name = str(resource.attributes.get("service.name", ""))
        self._service = _NOT_PLAIN.sub("_", name)[:128]
        return self._service
