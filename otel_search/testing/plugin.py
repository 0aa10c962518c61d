"""The pytest plugin: the fixture `telemetry`.

Loading it costs next to nothing: the rest is imported when a test asks for the fixture, or when the
application under test sets up its telemetry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import wrapt

if TYPE_CHECKING:
    from otel_search.testing.telemetry import Telemetry


def pytest_configure() -> None:
    """Keep what the application sets up in memory, also if it does so while its tests are collected."""
    wrapt.register_post_import_hook(_keep_in_memory, "otel_search.telemetry")


def _keep_in_memory(telemetry: Any) -> None:
    telemetry.stand_in = _stand_in


def _stand_in() -> None:
    from otel_search.testing.providers import providers

    providers()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """The spans, metrics and log records of this test, in memory, with fixed ids and a fixed clock."""
    from otel_search.testing.telemetry import Telemetry

    with Telemetry() as recorded:
        yield recorded
