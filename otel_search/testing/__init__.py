"""Telemetry in the tests of a service: `def test_search(telemetry): …`.

A pytest plugin that is found by itself where otel-search is installed. Spans, metrics and log records
stay in memory, nothing leaves the process, and each test begins with nothing recorded. See docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_search.testing.telemetry import Telemetry

__all__ = ["Telemetry"]


# Loaded at first use: pytest loads the plugin in this package in every run, whether it is used or not.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otel_search.testing import telemetry

    return getattr(telemetry, name)
