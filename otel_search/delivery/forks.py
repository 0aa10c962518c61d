"""What a forked child must not share with its parent: connections, locks held elsewhere, counts.

A keep-alive socket that two processes write to mixes up their requests. A lock that another thread
of the parent held at the fork stays locked for ever in the child, where that thread is missing: a
slow Collector is enough to hold the metric reader's. And measurements that the parent made before
the fork would be reported once more by every child.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class ForkSafeSession(requests.Session):
    """A session whose connections are never shared with a forked child."""

    def renew(self) -> None:
        """Take fresh connections; the old ones are the parent's."""
        for prefix, adapter in list(self.adapters.items()):
            _parents.append(adapter)
            self.mount(prefix, HTTPAdapter())


_sessions: weakref.WeakSet[ForkSafeSession] = weakref.WeakSet()
_parents: list[Any] = []
"""Kept, because closing what the parent uses would be seen at the other end."""


def exporter_arguments() -> dict[type, dict[str, Any]]:
    """Constructor arguments of the OTLP/HTTP exporters, for the SDK's configurator."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    arguments: dict[type, dict[str, Any]] = {}
    for exporter in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter):
        session = ForkSafeSession()
        _sessions.add(session)
        arguments[exporter] = {"session": session}
    return arguments


def renew_connections() -> None:
    """In a forked child: take fresh connections in place of the parent's; gRPC does so by itself."""
    for session in list(_sessions):
        session.renew()


def start_metrics_anew(provider: Any) -> None:
    """In a forked child: let the metrics start from nothing, with locks that nobody holds.

    Args:
        provider: The SDK's meter provider.
    """
    consumer: Any = getattr(provider, "_measurement_consumer", None)
    if not hasattr(consumer, "add_metric_reader"):
        return
    consumer._lock = threading.Lock()
    for reader in list(consumer._reader_storages):
        if hasattr(reader, "_export_lock"):
            reader._export_lock = threading.Lock()
        consumer.add_metric_reader(reader)  # replaces what it has stored for this reader


def after_fork(function: Callable[[], None]) -> None:
    """Call `function` in each forked child, after what was registered before it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
