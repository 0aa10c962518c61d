"""Inside the application: says what it is asked for, from a thread of its own.

The launcher finds `report` by an entry point that exists only in a directory that the doctor puts on the
application's PYTHONPATH: an application that is not examined knows nothing of it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import sys
import threading
from typing import Any

from otel_search import settings

ADDRESS = "_OTEL_SEARCH_DOCTOR"
"""The variable with the path of the socket that the doctor listens on."""


def report() -> None:
    """Stand by for the doctor's questions, in this process and in those that it forks."""
    address = settings.environment().get(ADDRESS)
    # multiprocessing's own process has no telemetry to tell of.
    if address and not any("multiprocessing.resource_tracker" in argument for argument in sys.orig_argv):
        _start(address)
        os.register_at_fork(after_in_child=lambda: _start(address))


def _start(address: str) -> None:
    threading.Thread(target=_answer, args=(address,), name="otel-search-doctor", daemon=True).start()


def _answer(address: str) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with connection.makefile("rw", encoding="utf-8") as lines:
            for _ in lines:
                lines.write(json.dumps(facts()) + "\n")
                lines.flush()


def facts() -> dict[str, Any]:
    """What this process is, as `observed.Process` has it."""
    from otel_search import telemetry
    from otel_search.delivery import losses

    providers = _providers()
    resource = getattr(providers["traces"], "resource", None)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "distro": _distro(),
        "configured": telemetry.is_set_up(),
        "by_us": getattr(resource, "attributes", {}).get("telemetry.distro.name") == "otel-search",
        "providers": {
            signal: f"{type(each).__module__}.{type(each).__qualname__}" if hasattr(each, "force_flush") else ""
            for signal, each in providers.items()
        },
        "sampler": _sampler(providers["traces"]),
        "exporters": {signal: _exporters(each) for signal, each in providers.items()},
        "instrumented": _instrumented(),
        "apps": _apps(),
        "fastapi": "fastapi" in sys.modules,
        "losses": losses.totals(),
    }


def _sampler(provider: Any) -> str:
    sampler = getattr(provider, "sampler", None)
    return "" if sampler is None else str(sampler.get_description())


def _providers() -> dict[str, Any]:
    from opentelemetry import _logs, metrics, trace

    return {
        "traces": trace.get_tracer_provider(),
        "metrics": metrics.get_meter_provider(),
        "logs": _logs.get_logger_provider(),
    }


def _distro() -> str:
    from opentelemetry.instrumentation.distro import BaseDistro

    classes = list(BaseDistro.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
        if vars(cls).get("_instance") is not None:
            return f"{cls.__module__}.{cls.__qualname__}"
    return ""


def _exporters(provider: Any) -> list[str]:
    multi = getattr(provider, "_active_span_processor", None) or getattr(provider, "_multi_log_record_processor", None)
    parts = [
        *getattr(multi, "_span_processors", ()),
        *getattr(multi, "_log_record_processors", ()),
        *getattr(provider, "_metric_readers", ()),
    ]
    found = []
    for part in parts:
        batch = getattr(part, "_batch_processor", None)
        exporter = getattr(part, "span_exporter", None) or getattr(part, "_exporter", None)
        exporter = exporter or getattr(batch, "_exporter", None)
        if exporter is not None:
            found.append(str(getattr(exporter, "_endpoint", "") or type(exporter).__name__))
    return found


def _instrumented() -> list[str]:
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

    classes = list(BaseInstrumentor.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
    return sorted(
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in classes
        if getattr(vars(cls).get("_instance"), "_is_instrumented_by_opentelemetry", False)
    )


def _apps() -> list[dict[str, Any]]:
    fastapi: Any = sys.modules.get("fastapi")
    if not hasattr(fastapi, "FastAPI"):
        return []
    return [_app(each) for each in gc.get_objects() if isinstance(each, fastapi.FastAPI)]


def _app(app: Any) -> dict[str, Any]:
    layers: list[str] = []
    layer = app.middleware_stack
    while layer is not None and len(layers) < 100:
        layers.append(type(layer).__name__)
        layer = getattr(layer, "app", None)
    config = getattr(app, "_telemetry", None)
    return {
        "title": str(app.title),
        "native": isinstance(config, dict) and bool(config.get("tracing", True)),
        "contrib": "OpenTelemetryMiddleware" in layers and "_otel_search_by_contrib" not in app.__dict__,
        "ours": "_otel_search_layer" in app.__dict__,
    }
