"""Contrib's instrumentation, for a FastAPI without telemetry of its own: one server span, made right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import fastapi
from opentelemetry.metrics import NoOpMeterProvider
from starlette.background import BackgroundTask

from otel_search import settings
from otel_search.fastapi.templates import matched_template

_logger = logging.getLogger(__name__)

_OURS = "_otel_search_by_contrib"


def instrument(app: fastapi.FastAPI, arranged: Callable[[Any], Any]) -> bool:
    """Let contrib make the server span, once for the application that is served and none for its mounts.

    Args:
        app: The application.
        arranged: Puts our layers into the stack that contrib has built.

    Returns:
        Whether the span is made at our bidding, so that the metrics are ours; if the application has
        called contrib itself, or contrib cannot be used, they are not.
    """
    if _OURS in app.__dict__:
        return True
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return False
    try:
        from opentelemetry.instrumentation import fastapi as contrib

        # Its own sees no further than the first mount.
        if hasattr(contrib, "_get_route_details"):
            contrib._get_route_details = matched_template
        contrib.FastAPIInstrumentor.instrument_app(
            app,
            meter_provider=NoOpMeterProvider(),
            excluded_urls="",  # ours are excluded before
            exclude_spans=["receive", "send"],
            http_capture_headers_sanitize_fields=settings.sanitized_headers(),
        )
    except Exception as error:
        _logger.error("no server spans: contrib's instrumentation of FastAPI cannot be used: %r", error)
        return False
    if not settings.current().operation_spans and hasattr(BackgroundTask, "_otel_original_call"):
        BackgroundTask.__call__ = BackgroundTask._otel_original_call  # type: ignore[method-assign]
    theirs = app.build_middleware_stack
    app.build_middleware_stack = lambda: arranged(theirs())  # type: ignore[method-assign]
    app.middleware_stack = None  # built again, with contrib's layer in it
    app.__dict__[_OURS] = True
    return True


def restore(app: fastapi.FastAPI) -> None:
    """Take contrib's instrumentation off, if it was put on by `instrument`."""
    if app.__dict__.pop(_OURS, False):
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.uninstrument_app(app)


def known_method() -> Callable[[str], str]:
    """Contrib's own rule for methods of bounded cardinality, so that span and metric agree."""
    from opentelemetry.util.http import sanitize_method

    known: Callable[[str], str] = sanitize_method
    return known
