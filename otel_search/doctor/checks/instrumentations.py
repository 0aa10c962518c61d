"""Which instrumentations are switched off or doubled by variables."""

from __future__ import annotations

from collections.abc import Iterator

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check

_OURS = {
    "fastapi": "server spans",
    "otel_search_fastapi": "server spans",
    "elasticsearch": "spans of Elasticsearch calls",
    "otel_search_elasticsearch": "spans of Elasticsearch calls",
}


@check(
    "instrumentor-disabled",
    Severity.ERROR,
    "`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` switches off what makes the spans",
    "take the name out of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
)
def instrumentor_disabled(case: Case) -> Iterator[str]:
    """Ours, by their own names or by those that they stand for."""
    disabled = [word.strip() for word in case.variables.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")]
    for name in disabled:
        if name == "*":
            yield "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS has '*': no library is instrumented"
        elif name in _OURS:
            yield f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS has {name!r}: no {_OURS[name]}"


@check(
    "fastapi-off",
    Severity.ERROR,
    "`OTEL_SEARCH_FASTAPI=off` leaves out server spans",
    "unset OTEL_SEARCH_FASTAPI",
)
def fastapi_off(case: Case) -> Iterator[str]:
    """Nobody makes the server span."""
    if case.settings.fastapi == "off":
        yield "OTEL_SEARCH_FASTAPI=off: requests have no spans"


@check(
    "elasticsearch-off",
    Severity.WARNING,
    "`OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED` is not exactly `true`, so the client makes no spans",
    "unset OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED, or set it to true, in lower case",
)
def elasticsearch_off(case: Case) -> Iterator[str]:
    """The client's own switch takes one word only."""
    name = "OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED"
    if case.variables.get(name, "true") != "true":
        yield f"{name}={case.variables[name]!r}: the Elasticsearch client makes no spans"


@check(
    "fastapi-doubles",
    Severity.WARNING,
    "`FASTAPI_OTEL_AUTO_CONFIGURE=true` beside the launcher sends everything twice",
    "unset FASTAPI_OTEL_AUTO_CONFIGURE",
)
def fastapi_doubles(case: Case) -> Iterator[str]:
    """FastAPI sets up exporters, too."""
    if case.variables.get("FASTAPI_OTEL_AUTO_CONFIGURE", "").strip().lower() == "true":
        yield "FASTAPI_OTEL_AUTO_CONFIGURE=true: FastAPI sets up exporters of its own beside the launcher's"
