"""OpenTelemetry's retired instrumentor `opentelemetry-instrumentation-elasticsearch`, kept from doubling ours."""

from __future__ import annotations

from typing import Any

from otel_search.elasticsearch import faults


def _instrumentor() -> Any:
    try:
        from opentelemetry.instrumentation.elasticsearch import ElasticsearchInstrumentor
    except ImportError:
        return None
    return ElasticsearchInstrumentor()


def stop() -> bool:
    """Stop contrib's instrumentor.

    Returns:
        Whether it was running.
    """
    try:
        contrib = _instrumentor()
        if contrib is None or not contrib.is_instrumented_by_opentelemetry:
            return False
        contrib.uninstrument()
    except Exception:
        faults.report("stopping the contrib instrumentation")
        return False
    return True


def start(tracer_provider: Any = None) -> bool:
    """Start contrib's instrumentor, for clients that ours does not know.

    Returns:
        Whether it is installed.
    """
    contrib = _instrumentor()
    if contrib is None:
        return False
    if not contrib.is_instrumented_by_opentelemetry:
        contrib.instrument(tracer_provider=tracer_provider)
    return True
