"""The telemetry of a process: the SDK as its variables say, our exporters' care, the logs.

Both doors come through here, the launcher's and `otel_search.instrument`. The SDK reads some of its
variables while it is imported and raises at what it cannot read, so they are looked at before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_search import settings
from otel_search.telemetry.standard_variables import correct, without_unreadable_files

stand_in: Callable[[], Any] | None = None
"""Called before anything is set up; it may set providers in place of those that the variables ask for, as tests do."""

_ready = False


def set_up(*faults: str, **configurator_arguments: Any) -> None:
    """Set up providers, exporters and logs, once; providers that the application has set are kept.

    Args:
        *faults: Lines on variables that were looked at before.
        **configurator_arguments: What the launcher tells a configurator.
    """
    global _ready
    effective = settings.current()
    if _ready or effective.sdk_disabled:
        return
    _ready = True
    # A variable that both of us read is said once.
    environ = settings.environment()
    found = (*faults, *effective.faults, *correct(environ), *without_unreadable_files(environ))
    said = tuple(dict.fromkeys(found))
    settings.set_defaults()
    if stand_in is not None:
        stand_in()
    from otel_search.telemetry import sdk

    sdk.set_up(effective, said, configurator_arguments, by_application=stand_in is None)


def is_set_up() -> bool:
    """Whether the telemetry of this process is our business."""
    return _ready
