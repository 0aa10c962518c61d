"""Headers on the server span, where the user lets contrib's instrumentation capture them."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from otel_search.redaction import MARKER, Redactor, marker

_PREFIXES = ("http.request.header.", "http.response.header.")
# Callers choose it, and what it says is on the span already, once it was found to be an id.
_REQUEST_ID = "http.request.header.x_request_id"


def hide_captured_headers(span: trace.Span | None, redactor: Redactor) -> None:
    """Hide the secrets in captured headers: by their names, and in URLs such as those of `Referer` and `Location`."""
    attributes: Any = getattr(span, "attributes", None)
    if span is None or not attributes or not span.is_recording():
        return
    hidden: dict[str, list[str]] = {}
    for name, values in attributes.items():
        if not name.startswith(_PREFIXES):
            continue
        if name == _REQUEST_ID:
            hidden[name] = [marker("request id")]
            continue
        kind = redactor.field(name.split(".", 3)[3])
        if kind is not None:
            # Twice on the way of a request: what is hidden already is not counted again.
            hidden[name] = list(values) if MARKER.fullmatch(str(values[0])) else [redactor.hide(kind)]
            continue
        safe = [redactor.text(str(value)) for value in values]
        if safe != list(values):
            hidden[name] = safe
    for name, values in hidden.items():
        span.set_attribute(name, values)
