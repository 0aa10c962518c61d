"""Our routes for a FastAPI application: whose service it is, and in which version."""

from __future__ import annotations

import fastapi

from otel_search.endpoints import Endpoints
from otel_search.settings import Settings
from otel_search.telemetry import identity

_FASTAPIS_OWN_VERSION = "0.1.0"


def make_endpoints(effective: Settings, app: fastapi.FastAPI) -> Endpoints:
    """The routes of this process.

    Args:
        effective: The settings.
        app: The application that is served.
    """
    attributes = identity.resource().attributes
    version = attributes.get("service.version")
    if version is None and app.version != _FASTAPIS_OWN_VERSION:
        version = app.version
    return Endpoints(
        effective,
        {
            "service": str(attributes.get("service.name", app.title)),
            "version": None if version is None else str(version),
        },
    )
