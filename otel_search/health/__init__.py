"""Health: `/health`, `/health/ready` and `/health/live`, and checks of the application's own.

Readiness asks whether traffic should come here, and so it asks Elasticsearch. Liveness asks whether
the process should be restarted, which no dependency's failure is a reason for: it asks nothing and
nobody but the event loop. A check runs in a thread or on the application's loop, for a bounded time,
once for all who ask within the time that its result counts, and without telemetry.
"""

from __future__ import annotations

from otel_search.health import clients, lifecycle
from otel_search.health.check import HealthCheck, HealthResult, Status
from otel_search.health.report import HEALTH, LIVENESS, READINESS, Health, Report

__all__ = ["HEALTH", "LIVENESS", "READINESS", "Health", "HealthCheck", "HealthResult", "Report", "Status", "watch"]


def watch() -> None:
    """See clients that are made and servers that stop, from now on."""
    clients.watch()
    lifecycle.watch_servers()
