"""FastAPI's own server span and metrics, with what they need worked out once.

`NativeTelemetry` is FastAPI's, line by line, for HTTP requests with spans and metrics to the SDK. Per
request it asks no provider again whether it is one, parses no query string that is replaced anyway,
reads no header that is not there, and makes one context in place of three. Everything else
(WebSockets, excluded requests, other versions, providers and configurations) goes FastAPI's own way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any

import fastapi
from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from otel_search.middleware import STATE, App, Message, Receive, Scope, Send, request_attributes
from otel_search.redaction import Redactor

# What is written out here is FastAPI's inside: another version may have another one.
_IS_KNOWN = fastapi.__version__.startswith("0.165.")
if _IS_KNOWN:
    from fastapi import applications
    from fastapi.telemetry import _asgi
    from fastapi.telemetry._api import _REQUEST_TELEMETRY_KEY, _exception_type, _RequestTelemetry, _unconfigured

_PROPAGATED = (b"traceparent", b"baggage")
"""Without these, the usual propagators find nothing."""

_USUAL = {TraceContextTextMapPropagator, W3CBaggagePropagator}
_IS_LEGACY = "_otel_search_is_legacy"

_replaced: list[tuple[Any, str, Any]] = []


def install(redactor: Redactor) -> None:
    """Let FastAPI take the short way.

    Args:
        redactor: Hides secrets in query strings.
    """
    if not _IS_KNOWN or _replaced:
        return
    native = _asgi.NativeTelemetry
    for owner, name, make in (
        (native, "__call__", lambda original: _lean_call(original, redactor)),
        (native, "enabled", _lean_enabled),
        (applications, "_legacy_otel", _remembered),
    ):
        original = getattr(owner, name)
        _replaced.append((owner, name, original))
        setattr(owner, name, make(original))


def uninstall() -> None:
    """Give FastAPI its own way back."""
    while _replaced:
        owner, name, original = _replaced.pop()
        setattr(owner, name, original)


def _remembered(original: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether contrib's middleware is in a stack: a stack, once built, stays as it is."""

    def legacy_otel(stack: Any) -> bool:
        known: bool | None = getattr(stack, _IS_LEGACY, None)
        if known is None:
            known = original(stack)
            setattr(stack, _IS_LEGACY, known)
        return known

    return legacy_otel


class _Known:
    """Providers of the SDK, and what was made with them."""

    def __init__(self, telemetry: Any, tracer_provider: Any, meter_provider: Any) -> None:
        self.tracer_provider = tracer_provider
        self.meter_provider = meter_provider
        self.usable = isinstance(tracer_provider, TracerProvider) and isinstance(meter_provider, MeterProvider)
        self.tracer: Any = telemetry._get_tracer(provider=tracer_provider) if self.usable else None


def _known(telemetry: Any) -> _Known | None:
    """What is known of an application's providers, or `None` if FastAPI has to find out itself."""
    config = telemetry.config
    if not (config["tracing"] and config["metrics"]):
        return None
    tracer_provider = config["tracer_provider"] or trace.get_tracer_provider()
    meter_provider = config["meter_provider"] or metrics.get_meter_provider()
    known: _Known | None = telemetry.__dict__.get("_otel_search_known")
    if known is None or known.tracer_provider is not tracer_provider or known.meter_provider is not meter_provider:
        known = telemetry._otel_search_known = _Known(telemetry, tracer_provider, meter_provider)
    return known if known.usable else None


def _lean_enabled(original: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def enabled(self: Any) -> bool:
        return _known(self) is not None or original(self)

    return enabled


def _lean_call(original: Callable[..., Any], redactor: Redactor) -> Callable[..., Any]:
    async def __call__(  # noqa: N807 - FastAPI's own
        self: Any, *, app: App, scope: Scope, receive: Receive, send: Send, legacy_otel: bool = False
    ) -> None:
        state: Any = scope.get(STATE)
        config = self.config
        known = None if legacy_otel or state is None or scope["type"] != "http" else _known(self)
        if known is None or (config["exclude"] is not None and config["exclude"](scope)):
            await original(self, app=app, scope=scope, receive=receive, send=send, legacy_otel=legacy_otel)
            return
        theirs = scope.get("method", "")
        method = theirs if theirs in self._known_methods else "_OTHER"
        active_attributes = {"url.scheme": scope.get("scheme", "http"), "http.request.method": method}
        attributes = active_attributes.copy()
        if scope.get("http_version"):
            attributes["network.protocol.version"] = scope["http_version"]
        duration, active = self._instruments()
        active.add(1, active_attributes)
        started = perf_counter()
        server = scope.get("server")
        span_attributes = {
            **attributes,
            **_server_attributes(
                state.headers.get(b"host"), scope.get("scheme", "http"), None if server is None else tuple(server)
            ),
            "url.path": scope["path"],
            **request_attributes(scope, state, redactor),
        }
        if theirs != method:
            span_attributes["http.request.method_original"] = theirs
        state.described = True
        parent = _parent(scope, state.headers)
        span_method = "HTTP" if method == "_OTHER" else method
        span = known.tracer.start_span(span_method, parent, SpanKind.SERVER, span_attributes)
        request_telemetry = _RequestTelemetry(
            span=span,
            span_method=span_method,
            tracer=known.tracer if config["operation_spans"] else None,
            logger=_logger(config),
            _mount_prefix=scope.get("app_root_path", scope.get("root_path", "")).rstrip("/"),
        )
        scope["fastapi.telemetry"] = request_telemetry
        context = Context({**parent, _REQUEST_TELEMETRY_KEY: request_telemetry, _SPAN_KEY: span})
        finished = trailers = disconnected = False

        def finish(error: BaseException | None = None) -> None:
            nonlocal finished
            if finished:
                return
            finished = True
            status = request_telemetry.status_code
            if request_telemetry.route is not None:
                attributes["http.route"] = request_telemetry.route
            if status is not None:
                attributes["http.response.status_code"] = status
            failed = error is not None or status is None or status >= 500
            if failed:
                errors = request_telemetry._exceptions
                failure = error or (errors[-1] if errors else None)
                attributes["error.type"] = _exception_type(failure) if failure else str(status or "incomplete_response")
            span.set_attributes(attributes)
            if failed:
                span.set_status(StatusCode.ERROR)
            duration.record(max(0, perf_counter() - started), attributes)
            active.add(-1, active_attributes)
            span.end()

        async def wrapped_send(message: Message) -> None:
            nonlocal trailers
            kind = message["type"]
            if kind == "http.response.start":
                request_telemetry.status_code = message["status"]
                trailers = message.get("trailers", False)
            await send(message)
            if (
                (kind == "http.response.body" and not message.get("more_body", False) and not trailers)
                or (kind == "http.response.trailers" and not message.get("more_trailers", False))
                or kind == "http.response.pathsend"
            ):
                finish()

        async def wrapped_receive() -> Message:
            nonlocal disconnected
            message = await receive()
            if message["type"] == "http.disconnect":
                disconnected = True
            return message

        token = otel_context.attach(context)
        try:
            try:
                await app(scope, wrapped_receive, wrapped_send)
            except BaseException as error:
                _asgi._exception(scope=scope, exc=error)
                finish(error)
                raise
            finally:
                if not finished:
                    finish(
                        ConnectionError("Client disconnected")
                        if disconnected
                        else RuntimeError("Incomplete ASGI response")
                    )
        finally:
            request_telemetry.data = None
            request_telemetry._exceptions.clear()
            otel_context.detach(token)
            scope.pop("fastapi.telemetry", None)

    return __call__


def _parent(scope: Scope, headers: Mapping[bytes, bytes]) -> Context:
    for name in _PROPAGATED:
        if name in headers:
            break
    else:
        if _are_usual(propagate.get_global_textmap()):
            return Context()
    return propagate.extract(Headers(scope=scope), getter=_asgi._HEADERS_GETTER)


@lru_cache(maxsize=4)
def _are_usual(propagator: Any) -> bool:
    return type(propagator) is CompositePropagator and {type(each) for each in propagator._propagators} <= _USUAL


@lru_cache(maxsize=256)
def _server_attributes(host: bytes | None, scheme: str, server: tuple[str, int | None] | None) -> dict[str, Any]:
    """The server's address as the caller names it; callers choose it, so only the last ones are kept."""
    headers = [] if host is None else [(b"host", host)]
    return _asgi._server_attributes({"type": "http", "headers": headers, "scheme": scheme, "server": server})


def _logger(config: Mapping[str, Any]) -> Any:
    if not config["logs"]:
        return None
    provider = config["logger_provider"] or _logs.get_logger_provider()
    if isinstance(provider, _logs.NoOpLoggerProvider) or (
        config["logger_provider"] is None and _unconfigured(provider)
    ):
        return None
    return _logs.get_logger("fastapi", fastapi.__version__, config["logger_provider"], schema_url=_asgi._SCHEMA_URL)
