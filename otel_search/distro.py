"""The distribution: what `opentelemetry-instrument` finds.

The launcher asks a distro for defaults, a configurator for providers, then each instrumentor to
instrument. Every default is a `setdefault`: a variable that the user has set wins.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro
from opentelemetry.sdk._configuration import _BaseConfigurator

from otel_search import settings, telemetry

NAME = "otel_search"

_logger = logging.getLogger(__name__)

# Upstream instrumentors whose work is done by ours, which decide when upstream's has to do it.
_OURS = frozenset({"fastapi", "elasticsearch", "structlog", "logging"})

_chosen = False


class OtelSearchDistro(BaseDistro):  # type: ignore[misc]
    """Sets the defaults, and keeps one broken instrumentor from stopping the others."""

    def _configure(self, **_: Any) -> None:
        global _chosen
        _chosen = True
        # Without a name the launcher takes the first configurator that it finds.
        os.environ.setdefault("OTEL_PYTHON_CONFIGURATOR", NAME)
        if not settings.current().sdk_disabled:
            settings.set_defaults()

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Load one instrumentor; what goes wrong in it is said once and concerns nobody else."""
        if settings.current().sdk_disabled or entry_point.name in _OURS:
            return
        try:
            if entry_point.name == "system_metrics":
                from otel_search.metrics import instrument_system

                instrument_system()
            else:
                super().load_instrumentor(entry_point, **kwargs)
        except ImportError:
            raise  # the launcher's own business: a library that is not installed
        except Exception as error:
            name, kind = entry_point.name, type(error).__name__
            _logger.error("instrumentor %s failed and is left out: %s: %s", name, kind, error)


class OtelSearchConfigurator(_BaseConfigurator):
    """Sets up the telemetry of the process."""

    def _configure(self, **kwargs: Any) -> None:
        telemetry.set_up(**kwargs)


def report_the_choice() -> None:
    """Say so if another distribution was found first: the launcher's hook before the instrumentors."""
    if _chosen or settings.current().sdk_disabled:
        return
    winner = BaseDistro._instance
    name = "OpenTelemetry's default" if winner is None else type(winner).__module__.partition(".")[0]
    _logger.warning(
        "another distribution was found first and is in charge (%s); set OTEL_PYTHON_DISTRO=%s to use otel-search",
        name,
        NAME,
    )
