"""OpenTelemetry's retired instrumentor `opentelemetry-instrumentation-elasticsearch`, kept from doubling ours."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import NoOpTracerProvider

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


def hold_its_place() -> None:
    """Run contrib's instrumentor without spans, so that who starts it later finds it running.

    That is for clients below 8.13: with later ones it sees the client's own span and steps back by itself.
    """
    try:
        contrib = _instrumentor()
        if contrib is not None:
            contrib.instrument(tracer_provider=NoOpTracerProvider(), skip_dep_check=True)
    except Exception:
        faults.report("holding the place of the contrib instrumentation")


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
