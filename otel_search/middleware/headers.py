"""Headers on the server span, where the user lets contrib's instrumentation capture them."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from otel_search.redaction import REDACTED, Redactor

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
        header = name.split(".", 3)[3]
        if name == _REQUEST_ID or redactor.secret_field(header):
            hidden[name] = [REDACTED]
            continue
        safe = [redactor.text(str(value)) for value in values]
        if safe != list(values):
            hidden[name] = safe
    for name, values in hidden.items():
        span.set_attribute(name, values)
