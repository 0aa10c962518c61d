"""Clients 8.0 to 8.12, which have no telemetry of their own.

`BaseClient.perform_request` is where later clients begin and end their spans; we do the same in its
place, sync and async. These clients do not name their endpoint, but the method that calls is named after it. Where an
application calls `perform_request` itself, the endpoint is read from the path, as with later clients.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import elastic_transport
from elasticsearch._async.client._base import BaseClient as AsyncBaseClient
from elasticsearch._sync.client._base import BaseClient
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.call import Call
from otel_search.elasticsearch.helpers import Helpers, address_of, parent_of
from otel_search.elasticsearch.paths import endpoint_of
from otel_search.elasticsearch.telemetry import Telemetry

if TYPE_CHECKING:
    from otel_search.elasticsearch.hooks import Hooks


_PACKAGES = ("elasticsearch._sync.client", "elasticsearch._async.client")
_BASE = tuple(f"{package}._base" for package in _PACKAGES)
_MOST_FRAMES = 6


def _calling_method() -> str | None:
    """The method of the client's API that is calling, with its namespace: `search`, `indices.create`."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        module = frame.f_globals.get("__name__", "") if frame is not None else ""
        if frame is None or not module.startswith((__name__, *_PACKAGES)):
            return None
        if module != __name__ and module not in _BASE:
            namespace = module.partition(".client")[2].removeprefix(".")
            name = frame.f_code.co_name
            return f"{namespace}.{name}" if namespace else name
        frame = frame.f_back
    return None


def hook_old_clients(hooks: Hooks, telemetry: Telemetry, tracer: Tracer) -> None:
    """Make the spans of clients 8.0 to 8.12."""

    def begin(client: Any, method: str, path: str) -> Call | None:
        try:
            if not is_instrumentation_enabled():
                return None
            endpoint = endpoint_of(method, path)
            return Call(
                telemetry,
                tracer,
                method,
                _calling_method() or endpoint.operation,
                endpoint.parts,
                address_of(client),
                parent_of(client),
            )
        except Exception:
            faults.report("starting a span")
            return None

    def sync_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def perform_request(self: Any, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            call = begin(self, method, path)
            if call is None:
                return original(self, method, path, *args, **kwargs)
            with call:
                return original(self, method, path, *args, **kwargs)

        return perform_request

    def async_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def perform_request(self: Any, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            call = begin(self, method, path)
            if call is None:
                return await original(self, method, path, *args, **kwargs)
            with call:
                return await original(self, method, path, *args, **kwargs)

        return perform_request

    hooks.replace(BaseClient, "perform_request", sync_hook)
    hooks.replace(AsyncBaseClient, "perform_request", async_hook)

    def tracer_of(client: Any) -> Tracer | None:
        # Not a double in somebody's test.
        return tracer if isinstance(getattr(client, "transport", None), elastic_transport.Transport) else None

    hooks.also(Helpers(telemetry, tracer_of).restore)
