"""Clients 8.0 to 8.12, which have no telemetry of their own.

`BaseClient.perform_request` is where later clients begin and end their spans; we do the same in its
place, sync and async. The endpoint is read from the path, because these clients do not name it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
                endpoint.operation,
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
    hooks.also(Helpers(telemetry, lambda _: tracer).restore)
