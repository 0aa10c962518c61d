"""Clients 8.0 to 8.12, which have no telemetry of their own.

`BaseClient.perform_request` is where later clients begin and end their spans; we do the same in its
place, sync and async. The endpoint is read from the path, because these clients do not name it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from elasticsearch._async.client._base import BaseClient as AsyncBaseClient
from elasticsearch._sync.client._base import BaseClient
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.call import Call
from otel_search.elasticsearch.paths import endpoint_of
from otel_search.elasticsearch.telemetry import Telemetry

if TYPE_CHECKING:
    from otel_search.elasticsearch.hooks import Hooks

_CALL: ContextVar[Call | None] = ContextVar("otel_search_elasticsearch_call", default=None)


def current_call() -> Call | None:
    """The call of an old client that this context is in the middle of."""
    return _CALL.get()


def hook_old_clients(hooks: Hooks, telemetry: Telemetry, tracer: Tracer) -> None:
    """Make the spans of clients 8.0 to 8.12."""

    def begin(client: Any, method: str, path: str) -> Call | None:
        try:
            if not is_instrumentation_enabled():
                return None
            endpoint = endpoint_of(method, path)
            first = client.transport.node_pool.all()[0]
            return Call(telemetry, tracer, method, endpoint.operation, endpoint.parts, (first.host, first.port))
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
                token = _CALL.set(call)
                try:
                    return original(self, method, path, *args, **kwargs)
                finally:
                    _CALL.reset(token)

        return perform_request

    def async_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def perform_request(self: Any, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            call = begin(self, method, path)
            if call is None:
                return await original(self, method, path, *args, **kwargs)
            with call:
                token = _CALL.set(call)
                try:
                    return await original(self, method, path, *args, **kwargs)
                finally:
                    _CALL.reset(token)

        return perform_request

    hooks.replace(BaseClient, "perform_request", sync_hook)
    hooks.replace(AsyncBaseClient, "perform_request", async_hook)
