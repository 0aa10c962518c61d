"""FastAPI: `instrument(app)`, `uninstrument(app)`, and the launcher's instrumentor.

This is the only room that knows FastAPI. The server span is FastAPI's own where it has one
(0.142 and later), contrib's where not; our layers stand around either.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib import import_module
from typing import Any

import fastapi
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_search import settings, telemetry
from otel_search.fastapi.hooks import hooks

__all__ = ["SearchServiceInstrumentor", "instrument", "uninstrument"]

_logger = logging.getLogger(__name__)


def instrument(app: fastapi.FastAPI) -> None:
    """Instrument one application, and set up the telemetry of its process if nobody has.

    May be called before or after routes and middleware are added, any number of times, and with or
    without the launcher. Providers that the application has set are used and kept.

    Args:
        app: The application; sub-applications mounted in it are part of it.
    """
    if settings.current().sdk_disabled:
        return
    telemetry.set_up()
    try:
        elasticsearch = import_module("otel_search.elasticsearch").ElasticsearchInstrumentor()
        if not elasticsearch.is_instrumented_by_opentelemetry:
            elasticsearch.instrument()
    except Exception as error:
        _logger.error("Elasticsearch calls cannot be instrumented: %s: %s", type(error).__name__, error)
    hooks().choose(app)


def uninstrument(app: fastapi.FastAPI) -> None:
    """Take otel-search off one application; the telemetry of the process stays for the others.

    Args:
        app: An application that was instrumented by `instrument` or by the launcher.
    """
    hooks().leave(app)


class SearchServiceInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments every FastAPI application of the process: the launcher's entry point."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None to check: FastAPI is a dependency of otel-search itself."""
        return ()

    def _instrument(self, **_: Any) -> None:
        if not settings.current().sdk_disabled:
            hooks().choose_all()

    def _uninstrument(self, **_: Any) -> None:
        hooks().uninstall()
