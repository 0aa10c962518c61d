"""otel-search: the OpenTelemetry distribution for Python search services.

Start a service with `opentelemetry-instrument uvicorn app:app` and nothing in it has to change.
For those who want code there are `instrument(app)` and `@operation("product_search")`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_search.alerts import AlertRule
    from otel_search.callers import identify, identify_by
    from otel_search.fastapi import instrument, uninstrument
    from otel_search.health import HealthCheck, HealthResult
    from otel_search.kpis import Kpi
    from otel_search.operations import operation

__version__ = "0.1.0"

# Loaded at first use: the launcher imports this package before the application's own imports,
# and a name that is not used must not cost its libraries.
_DOORS = {
    "AlertRule": "otel_search.alerts",
    "HealthCheck": "otel_search.health",
    "HealthResult": "otel_search.health",
    "Kpi": "otel_search.kpis",
    "identify": "otel_search.callers",
    "identify_by": "otel_search.callers",
    "instrument": "otel_search.fastapi",
    "operation": "otel_search.operations",
    "uninstrument": "otel_search.fastapi",
}

__all__ = [
    "AlertRule",
    "HealthCheck",
    "HealthResult",
    "Kpi",
    "__version__",
    "identify",
    "identify_by",
    "instrument",
    "operation",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_DOORS[name]), name)
