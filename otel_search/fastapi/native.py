"""FastAPI's own telemetry, from 0.142 on: told what to do, by the only argument that it has."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import fastapi

from otel_search.middleware import STATE, StreamAwareHistogram

IS_THERE = "telemetry" in fastapi.FastAPI.__init__.__annotations__
"""Whether this FastAPI makes spans and metrics itself."""

_BEFORE = "_otel_search_before"


def configure(app: fastapi.FastAPI, explicit: Container[str], *, operation_spans: bool, silent: bool) -> None:
    """Tell FastAPI's own telemetry what to do, once for each application.

    Args:
        app: The application.
        explicit: What the application has told it itself: that stays.
        operation_spans: Whether there are spans for dependencies, endpoints and serialization.
        silent: Whether it makes neither spans nor metrics.
    """
    config: Any = getattr(app, "_telemetry", None)
    if config is None or _BEFORE in app.__dict__:
        return
    app.__dict__[_BEFORE] = dict(config)
    ours = {"operation_spans": operation_spans, "logs": False}  # its exceptions are in the one log line
    if silent:
        ours |= {"tracing": False, "metrics": False}
    config.update({name: value for name, value in ours.items() if name not in explicit})
    theirs = config["exclude"]
    config["exclude"] = _is_excluded if theirs is None else lambda scope: _is_excluded(scope) or theirs(scope)
    _label_streams(app)


def restore(app: fastapi.FastAPI) -> None:
    """Give FastAPI's own telemetry its configuration back."""
    before = app.__dict__.pop(_BEFORE, None)
    if before is not None:
        app._telemetry.update(before)
        app._native_telemetry.__dict__.pop("_instruments", None)


def _is_excluded(scope: Any) -> bool:
    state = scope.get(STATE)
    # Within a server span that is not FastAPI's, a mounted application must not make a second one.
    return state is not None and (state.excluded or state.context is not None)


def _label_streams(app: fastapi.FastAPI) -> None:
    telemetry: Any = getattr(app, "_native_telemetry", None)
    instruments = getattr(telemetry, "_instruments", None)
    if instruments is None:
        return  # a FastAPI whose inside is another one: streams have no label there
    labelled: dict[int, StreamAwareHistogram] = {}

    def aware() -> Any:
        duration, *others = instruments()
        histogram = labelled.get(id(duration))
        if histogram is None:
            labelled.clear()
            histogram = labelled[id(duration)] = StreamAwareHistogram(duration)
        return (histogram, *others)

    telemetry._instruments = aware
