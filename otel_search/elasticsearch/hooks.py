"""Where we stand in the libraries: three class-level hooks, which also serve clients that exist already."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self

import elastic_transport
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.attempts import NodeHooks
from otel_search.elasticsearch.call import CURRENT, SILENT, Call, SilentCall
from otel_search.elasticsearch.cloning import TRANSPORT, hook_clients
from otel_search.elasticsearch.helpers import Helpers, address_behind, parent_of
from otel_search.elasticsearch.native_helpers import helpers_span_hook, use_span_hook
from otel_search.elasticsearch.telemetry import Telemetry

_ADDRESS = "_otel_search_address"
_MARK = "_otel_search_hook"


class Hooks:
    """Class attributes that were replaced, and how to put them back."""

    def __init__(self) -> None:
        self._replaced: list[tuple[type, str, Any, Any]] = []
        self._others: list[Callable[[], None]] = []

    def replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Replace the attribute `name` of `owner` by what `make` makes of it."""
        original = owner.__dict__[name]
        # Somebody else's wrapper may be a descriptor that has to be asked for.
        replacement = make(getattr(owner, name))
        setattr(replacement, _MARK, True)
        setattr(owner, name, replacement)
        self._replaced.append((owner, name, original, replacement))

    def also(self, undo: Callable[[], None]) -> None:
        """Call `undo` when everything is put back."""
        self._others.append(undo)

    def restore(self) -> None:
        """Put everything back, except what somebody else has wrapped meanwhile: that stays, and does nothing."""
        for owner, name, original, replacement in reversed(self._replaced):
            if owner.__dict__.get(name) is replacement:
                setattr(owner, name, original)
        self._replaced.clear()
        while self._others:
            self._others.pop()()


def hook_transports(hooks: Hooks, telemetry: Telemetry, *, client_passes_span: bool) -> None:
    """See the request before it is serialized, and the reply before an error is raised.

    Args:
        hooks: Where the replaced methods are kept.
        telemetry: What all calls share.
        client_passes_span: Whether clients hand their span to the transport, as they do from 8.13 on.
    """
    takes_span = "otel_span" in inspect.signature(elastic_transport.Transport.perform_request).parameters
    nodes = NodeHooks(hooks)
    pools = telemetry.pools

    def find(transport: Any, target: str, arguments: dict[str, Any]) -> Call | None:
        call = arguments.get("otel_span")
        if type(call) is not Call:
            call = CURRENT.get()
            if client_passes_span or call is None or call.target is not None:
                # Not a client's call: the transport itself asks for nodes, perhaps in the middle of one.
                return None
            if takes_span:
                arguments["otel_span"] = call
        try:
            if transport not in pools:
                pools.add(transport)
                nodes.add(transport.node_pool.node_class)
        except Exception:
            faults.report("looking at a transport")
        call.sends(target, arguments.get("body"))
        return call

    def sync_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def perform_request(self: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
            call = find(self, target, kwargs)
            if call is None:
                return _sniffing(original, self, method, target, *args, **kwargs)
            response = original(self, method, target, *args, **kwargs)
            call.receives(response)
            return response

        return perform_request

    def async_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def perform_request(self: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
            call = find(self, target, kwargs)
            if call is None:
                return await _sniffing_async(original, self, method, target, *args, **kwargs)
            response = await original(self, method, target, *args, **kwargs)
            call.receives(response)
            return response

        return perform_request

    hooks.replace(elastic_transport.Transport, "perform_request", sync_hook)
    hooks.replace(elastic_transport.AsyncTransport, "perform_request", async_hook)


def _sniffing(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with _Sniff() as sniff:
        sniff.response = original(*args, **kwargs)
    return sniff.response


async def _sniffing_async(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with _Sniff() as sniff:
        sniff.response = await original(*args, **kwargs)
    return sniff.response


class _Sniff:
    """A request of the transport's own: no attempt of the call that it delays, but an event of it."""

    response: Any = None

    def __enter__(self) -> Self:
        self._call = CURRENT.get()
        self._token = CURRENT.set(None)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        CURRENT.reset(self._token)
        if self._call is not None:
            self._call.sniffed(self.response, error if isinstance(error, Exception) else None)


def hook_native_spans(hooks: Hooks, telemetry: Telemetry, tracer_provider: Any = None) -> None:
    """Make the spans of clients from 8.13 on: the one class that sync, async, cloned and DSL clients share."""
    from elasticsearch import _otel

    ours = tracer_provider.get_tracer("elasticsearch-api") if tracer_provider is not None else None

    def tracer_of(owner: Any) -> Tracer | None:
        otel = getattr(owner, "_otel", owner)
        if not otel.enabled or otel.tracer is None:
            return None
        tracer: Tracer = ours if ours is not None and otel.tracer is _otel._tracer else otel.tracer
        return tracer

    def span_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def span(
            self: Any, method: str, *, endpoint_id: str | None, path_parts: Mapping[str, str]
        ) -> Call | SilentCall:
            tracer = tracer_of(self) if is_instrumentation_enabled() else None
            if tracer is None:
                return SILENT
            address = _address_of(getattr(self, TRANSPORT, None))
            return Call(telemetry, tracer, method, endpoint_id, path_parts, address, parent_of(self))

        return span

    hooks.replace(_otel.OpenTelemetry, "span", span_hook)
    if hasattr(_otel.OpenTelemetry, "helpers_span"):
        hooks.replace(_otel.OpenTelemetry, "helpers_span", helpers_span_hook(telemetry, tracer_of))
        hooks.replace(_otel.OpenTelemetry, "use_span", use_span_hook)
    hooks.also(Helpers(telemetry, tracer_of).restore)
    hook_clients(hooks, lean=telemetry.lean)


def _address_of(transport: Any) -> tuple[str, int] | None:
    """Host and port of a transport's first node, worked out at its first call."""
    if transport is None:
        return None
    try:
        known: tuple[str, int] | None = transport.__dict__.get(_ADDRESS)
        if known is None:
            known = transport.__dict__[_ADDRESS] = address_behind(transport)
    except Exception:
        faults.report("reading a transport's nodes")
        return None
    return known
