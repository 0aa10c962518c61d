"""Where we stand in the libraries: three class-level hooks, which also serve clients that exist already."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import elastic_transport
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.call import SILENT, Call, SilentCall
from otel_search.elasticsearch.telemetry import Telemetry

_ADDRESS = "_otel_search_address"
_MARK = "_otel_search_hook"


class Hooks:
    """Class attributes that were replaced, and how to put them back."""

    def __init__(self) -> None:
        self._replaced: list[tuple[type, str, Any, Any]] = []

    def replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Replace the attribute `name` of `owner` by what `make` makes of it."""
        original = owner.__dict__[name]
        replacement = make(original)
        setattr(replacement, _MARK, True)
        setattr(owner, name, replacement)
        self._replaced.append((owner, name, original, replacement))

    def restore(self) -> None:
        """Put everything back, except what somebody else has wrapped meanwhile: that stays, and does nothing."""
        for owner, name, original, replacement in reversed(self._replaced):
            if owner.__dict__.get(name) is replacement:
                setattr(owner, name, original)
        self._replaced.clear()


def hook_transports(hooks: Hooks, current_call: Callable[[], Call | None] | None = None) -> None:
    """See the request before it is serialized, and the reply before an error is raised.

    Args:
        hooks: Where the replaced methods are kept.
        current_call: Finds the call where the client does not pass it on, below 8.13.
    """
    takes_span = "otel_span" in inspect.signature(elastic_transport.Transport.perform_request).parameters

    def find(arguments: dict[str, Any]) -> Call | None:
        call = arguments.get("otel_span")
        if type(call) is Call:
            return call
        if current_call is None:
            return None
        call = current_call()
        if call is not None and takes_span:
            arguments["otel_span"] = call
        return call

    def sync_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def perform_request(self: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
            call = find(kwargs)
            if call is None:
                return original(self, method, target, *args, **kwargs)
            call.sends(target, kwargs)
            response = original(self, method, target, *args, **kwargs)
            call.receives(response)
            return response

        return perform_request

    def async_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def perform_request(self: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
            call = find(kwargs)
            if call is None:
                return await original(self, method, target, *args, **kwargs)
            call.sends(target, kwargs)
            response = await original(self, method, target, *args, **kwargs)
            call.receives(response)
            return response

        return perform_request

    hooks.replace(elastic_transport.Transport, "perform_request", sync_hook)
    hooks.replace(elastic_transport.AsyncTransport, "perform_request", async_hook)


def hook_native_spans(hooks: Hooks, telemetry: Telemetry, tracer_provider: Any = None) -> None:
    """Make the spans of clients from 8.13 on: the one class that sync, async, cloned and DSL clients share."""
    from elasticsearch import _otel

    ours = tracer_provider.get_tracer("elasticsearch-api") if tracer_provider is not None else None

    def span_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def span(
            self: Any, method: str, *, endpoint_id: str | None, path_parts: Mapping[str, str]
        ) -> Call | SilentCall:
            tracer = self.tracer
            if not self.enabled or tracer is None or not is_instrumentation_enabled():
                return SILENT
            if ours is not None and tracer is _otel._tracer:
                tracer = ours
            return Call(telemetry, tracer, method, endpoint_id, path_parts, getattr(self, _ADDRESS, None))

        return span

    hooks.replace(_otel.OpenTelemetry, "span", span_hook)
    _hook_addresses(hooks)


def _hook_addresses(hooks: Hooks) -> None:
    """Tell each client's telemetry where its requests go, so that the address is known when a span starts."""
    from elasticsearch._async.client._base import BaseClient as AsyncBaseClient
    from elasticsearch._sync.client._base import BaseClient

    def init_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (it is one)
            original(self, *args, **kwargs)
            try:
                first = self.transport.node_pool.all()[0]
                setattr(self._otel, _ADDRESS, (first.host, first.port))
            except Exception:
                faults.report("reading a client's nodes")

        return __init__

    hooks.replace(BaseClient, "__init__", init_hook)
    hooks.replace(AsyncBaseClient, "__init__", init_hook)
