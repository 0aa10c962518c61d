"""Elasticsearch calls as spans and metrics: the instrumentor of the official Python client."""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_search import settings as otel_search_settings

_logger = logging.getLogger("otel_search.elasticsearch")

FIRST = (8, 0)
NATIVE = (8, 13)
"""From here on clients make their own spans, and we make them right."""


class ElasticsearchInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments the clients of the package `elasticsearch`, 8.0 and later, if it is installed."""

    def __init__(self) -> None:
        # BaseInstrumentor makes one instance for all calls of the class: what it holds must survive them.
        if not hasattr(self, "_undo"):
            self._undo: list[Any] = []

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: the library is looked for when instrumenting, because it is optional."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        installed = _client_version()
        if installed is None:
            return
        if installed < FIRST:
            _outside(kwargs.get("tracer_provider"))
            return
        from otel_search.elasticsearch import contrib
        from otel_search.elasticsearch.hooks import Hooks, hook_native_spans, hook_transports
        from otel_search.elasticsearch.quiet import quieten
        from otel_search.elasticsearch.telemetry import Telemetry

        if contrib.stop():
            _logger.info("otel-search: opentelemetry-instrumentation-elasticsearch is stopped, one call is one span")
        tracer_provider = kwargs.get("tracer_provider")
        settings = kwargs.get("settings") or otel_search_settings.current()
        telemetry = Telemetry(settings, kwargs.get("meter_provider"), tracer_provider)
        hooks = Hooks()
        self._undo += [telemetry.close, hooks.restore]
        hook_transports(hooks, telemetry, client_passes_span=installed >= NATIVE)
        if installed >= NATIVE:
            hook_native_spans(hooks, telemetry, tracer_provider)
        else:
            from otel_search.elasticsearch.old_clients import hook_old_clients

            tracer = trace.get_tracer("elasticsearch-api", tracer_provider=tracer_provider)
            hook_old_clients(hooks, telemetry, tracer)
            # Outside of our hook, where it does not see our span: it would warn at each call.
            contrib.hold_its_place()
            self._undo.append(contrib.stop)
        self._undo.append(quieten())

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 (the interface's)
        while self._undo:
            self._undo.pop()()


def _client_version() -> tuple[int, int] | None:
    try:
        major, minor, *_ = version("elasticsearch").split(".")
        return int(major), int(minor)
    except (PackageNotFoundError, ValueError):
        return None


def _outside(tracer_provider: Any) -> None:
    from otel_search.elasticsearch import contrib

    by_contrib = contrib.start(tracer_provider)
    _logger.warning(
        "otel-search: elasticsearch %s is not supported, 8.0 and later are; its calls make %s",
        version("elasticsearch"),
        "only the spans of opentelemetry-instrumentation-elasticsearch" if by_contrib else "no spans",
    )
