"""Secrets in spans that others make: exceptions recorded by hand, URLs on the spans of HTTP clients.

The spans of this project are without them from the beginning. The others are looked at when they
leave, on the thread that exports them, so that no request waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status

from otel_search import semconv
from otel_search.redaction import Redactor

_logger = logging.getLogger(__name__)

_EXCEPTION_TEXTS = (semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE)
_URLS = (semconv.URL_FULL, "http.url", "http.target")


def without_secrets(exporter: Any, redactor: Redactor) -> Any:
    """Let a span exporter send exceptions and URLs without their secrets.

    Args:
        exporter: Its `export` is wrapped in place, since other code tells exporters apart by their class.
        redactor: Hides the secrets.
    """
    export = exporter.export

    def hiding(batch: Sequence[ReadableSpan], *args: Any, **kwargs: Any) -> Any:
        for span in batch:
            try:
                _hide(span, redactor)
            except Exception as error:
                _logger.warning("the secrets of a span could not be looked for: %r", error)
        return export(batch, *args, **kwargs)

    exporter.export = hiding
    return exporter


def _hide(span: ReadableSpan, redactor: Redactor) -> None:
    if span._events:
        span._events = [_event(event, redactor) for event in span._events]
    description = span._status.description
    if description:
        span._status = Status(span._status.status_code, redactor.text(description))
    attributes = span._attributes
    if not attributes:
        return
    for name in _URLS:
        url = attributes.get(name)
        if isinstance(url, str) and ("=" in url or "@" in url):
            hidden = redactor.text(url)
            if hidden != url:
                attributes = span._attributes = BoundedAttributes(attributes={**attributes, name: hidden})


def _event(event: Event, redactor: Redactor) -> Event:
    attributes = event.attributes or {}
    texts = {name: attributes[name] for name in _EXCEPTION_TEXTS if isinstance(attributes.get(name), str)}
    hidden = {name: redactor.text(str(text)) for name, text in texts.items()}
    return event if hidden == texts else Event(event.name, {**attributes, **hidden}, event.timestamp)
