"""FastAPI: `instrument(app)`, `uninstrument(app)`, and the launcher's instrumentor.

This is the only file that knows FastAPI. The server span is FastAPI's own where it has one
(0.142 and later), contrib's where not; our layers stand around either. The hooks are on the class,
so that it makes no difference whether an application was made before or after them, is a subclass,
or gets its routes and middleware later.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

import fastapi
from anyio.to_thread import run_sync
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Match

from otel_search import delivery, logs, settings, telemetry
from otel_search.middleware import STATE, App, Message, Options, Receive, RequestLayer, Scope, Send, TraceLayer
from otel_search.redaction import Redactor

_logger = logging.getLogger(__name__)

HAS_NATIVE_TELEMETRY = "telemetry" in fastapi.FastAPI.__init__.__annotations__
"""Whether this FastAPI makes spans and metrics itself."""

# The servers' own access logs say less than ours, and without trace ids.
_SERVERS_ACCESS_LOGS = ("uvicorn.access", "gunicorn.access", "hypercorn.access")


def instrument(app: fastapi.FastAPI) -> None:
    """Instrument one application, and set up the telemetry of its process if nobody has.

    May be called before or after routes and middleware are added, any number of times, and with or
    without the launcher. Providers that the application has set are used and kept.

    Args:
        app: The application; sub-applications mounted in it are part of it.
    """
    if settings.current().sdk_disabled:
        return
    telemetry.set_up()
    import_module("otel_search.elasticsearch").ElasticsearchInstrumentor().instrument()
    hooks = _hooks()
    hooks.excepted.discard(app)
    hooks.chosen.add(app)
    hooks.install()
    hooks.configure(app)


def uninstrument(app: fastapi.FastAPI) -> None:
    """Take otel-search off one application; the telemetry of the process stays for the others.

    Args:
        app: An application that was instrumented by `instrument` or by the launcher.
    """
    hooks = _hooks()
    hooks.chosen.discard(app)
    hooks.excepted.add(app)
    hooks.restore(app)


class SearchServiceInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments every FastAPI application of the process: the launcher's entry point."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None to check: FastAPI is a dependency of otel-search itself."""
        return ()

    def _instrument(self, **_: Any) -> None:
        if settings.current().sdk_disabled or settings.current().fastapi == "off":
            return
        hooks = _hooks()
        hooks.every_app = True
        hooks.install()

    def _uninstrument(self, **_: Any) -> None:
        _hooks().uninstall()


class _Hooks:
    """Our hooks on the class `FastAPI`, and which applications they serve."""

    def __init__(self, effective: settings.Settings) -> None:
        self.every_app = False
        self.chosen: weakref.WeakSet[fastapi.FastAPI] = weakref.WeakSet()
        self.excepted: weakref.WeakSet[fastapi.FastAPI] = weakref.WeakSet()
        self._layers: weakref.WeakKeyDictionary[fastapi.FastAPI, RequestLayer] = weakref.WeakKeyDictionary()
        self._originals: dict[str, Callable[..., Any]] = {}
        self._redactor = Redactor(effective.redact_keys)
        self._operation_spans = effective.operation_spans
        self._source = effective.fastapi
        if self._source == "auto":
            self._source = "native" if HAS_NATIVE_TELEMETRY else "contrib"
        elif self._source == "native" and not HAS_NATIVE_TELEMETRY:
            _logger.error(
                "OTEL_SEARCH_FASTAPI=native needs FastAPI 0.142 or later, this is %s: using contrib",
                fastapi.__version__,
            )
            self._source = "contrib"
        self._options = Options(
            excluded=effective.fastapi_excluded_urls or effective.excluded_urls,
            access_log=_AccessLogMode(effective.access_log),
            redactor=self._redactor,
        )

    def serves(self, app: fastapi.FastAPI) -> bool:
        return (self.every_app and app not in self.excepted) or app in self.chosen

    def install(self) -> None:
        if self._originals:
            return
        hooks = self
        cls = fastapi.FastAPI
        self._originals = {name: getattr(cls, name) for name in ("__init__", "__call__", "build_middleware_stack")}
        originals = self._originals

        def __init__(self: fastapi.FastAPI, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - FastAPI's own
            originals["__init__"](self, *args, **kwargs)
            if hooks.every_app:
                hooks.configure(self)

        async def __call__(self: fastapi.FastAPI, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: N807
            if STATE in scope or not hooks.serves(self):
                await originals["__call__"](self, scope, receive, send)
            elif scope["type"] == "lifespan":
                hooks.prepare(self)
                await _lifespan(originals["__call__"], self, scope, receive, send)
            else:
                await hooks.layer(self)(scope, receive, send)

        def build_middleware_stack(self: fastapi.FastAPI) -> Any:
            return hooks.with_trace_layer(originals["build_middleware_stack"](self))

        __init__.__wrapped__ = originals["__init__"]  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign]
        cls.__call__ = __call__  # type: ignore[method-assign]
        cls.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]
        logs.replace(_SERVERS_ACCESS_LOGS)

    def uninstall(self) -> None:
        for name, original in self._originals.items():
            setattr(fastapi.FastAPI, name, original)
        self._originals = {}
        self.every_app = False
        logs.replace(())

    def configure(self, app: fastapi.FastAPI) -> None:
        """Tell FastAPI's own telemetry what to do; what the application told it itself stays."""
        config = getattr(app, "_telemetry", None)
        if config is None or "_otel_search_before" in app.__dict__:
            return
        app.__dict__["_otel_search_before"] = dict(config)
        config["operation_spans"] = self._operation_spans
        config["logs"] = False  # its exceptions are in the one log line, with everything else
        theirs = config["exclude"]
        config["exclude"] = _is_excluded if theirs is None else lambda scope: _is_excluded(scope) or theirs(scope)

    def restore(self, app: fastapi.FastAPI) -> None:
        """Give FastAPI's own telemetry its configuration back."""
        before = app.__dict__.pop("_otel_search_before", None)
        if before is not None:
            app._telemetry.update(before)
        self._layers.pop(app, None)

    def layer(self, app: fastapi.FastAPI) -> RequestLayer:
        layer = self._layers.get(app)
        if layer is None:
            self.prepare(app)
            layer = RequestLayer(self._originals["__call__"].__get__(app), self._options)
            self._layers[app] = layer
        return layer

    def prepare(self, app: fastapi.FastAPI) -> None:
        """What has to be in place before an application is served for the first time."""
        if self._source == "contrib":
            _instrument_by_contrib(app)
        if app.middleware_stack is not None:
            self.with_trace_layer(app.middleware_stack)

    def with_trace_layer(self, stack: Any) -> Any:
        """Put our inner layer into a built stack, inside of every layer that makes error responses or spans."""
        innermost = stack
        while isinstance(getattr(innermost, "app", None), ServerErrorMiddleware) or _is_contrib(innermost):
            innermost = innermost.app
        if isinstance(innermost, ServerErrorMiddleware) and not isinstance(innermost.app, TraceLayer):
            innermost.app = TraceLayer(innermost.app, self._redactor)
        return stack


class _AccessLogMode:
    """Whether requests are logged: as set, else as the server was told."""

    def __init__(self, chosen: str | None) -> None:
        self._chosen = chosen
        self._found: str | None = chosen

    def __call__(self) -> str:
        if self._found is None:
            # uvicorn's --no-access-log leaves a logger with no way out. gunicorn has no access log by
            # default and does the same to uvicorn's, which says nothing of what the user wants.
            import sys

            silenced = not logging.getLogger("uvicorn.access").hasHandlers()
            self._found = "off" if silenced and "gunicorn.arbiter" not in sys.modules else "end"
        return self._found


def _is_excluded(scope: Any) -> bool:
    state = scope.get(STATE)
    return state is not None and state.excluded


async def _lifespan(
    original: Callable[..., Any], app: fastapi.FastAPI, scope: Scope, receive: Receive, send: Send
) -> None:
    """Pass a lifespan on, and flush when it ends: after SIGTERM this is the last moment that is sure to come."""

    async def flushing_send(message: Message) -> None:
        ours = delivery.current()
        if ours is not None:
            if message["type"] == "lifespan.startup.complete":
                ours.draining = False
            elif message["type"] != "lifespan.startup.failed":
                await run_sync(ours.drain)
        await send(message)

    scope[STATE] = None  # a mounted application's lifespan is not a second end
    await original(app, scope, receive, flushing_send)


def _is_contrib(layer: Any) -> bool:
    return type(layer).__module__ == "opentelemetry.instrumentation.asgi" and hasattr(layer, "app")


def _instrument_by_contrib(app: fastapi.FastAPI) -> None:
    """Let contrib make the server span, once for the application that is served and none for its mounts."""
    try:
        from opentelemetry.instrumentation import fastapi as contrib
    except ImportError as error:
        _logger.error("OTEL_SEARCH_FASTAPI=contrib: its instrumentation cannot be loaded: %s", error)
        return
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return
    if hasattr(contrib, "_get_route_details"):
        contrib._get_route_details = _matched_template
    contrib.FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    app.middleware_stack = None  # built again at the next call, with contrib's layer in it


def _matched_template(scope: Any) -> str | None:
    """The template of the route that a scope matches; contrib's own sees no further than the first mount."""
    template = _match(scope["app"].routes, dict(scope))
    root_path = scope.get("root_path", "").rstrip("/")
    return None if template is None else root_path + template


def _match(routes: Any, scope: dict[str, Any]) -> str | None:
    partial: str | None = None
    for route in _flat(routes):
        match, child = route.matches(scope)
        if match == Match.NONE:
            continue
        path = str(getattr(route, "path", ""))
        nested = getattr(route, "routes", None)
        if match == Match.FULL and nested:
            inner = _match(nested, {**scope, **child})
            return f"{path}/{{path}}" if inner is None else path + inner
        if match == Match.FULL:
            return f"{path}/{{path}}" if nested is not None and not hasattr(route, "endpoint") else path
        partial = partial if partial is not None else path
    return partial


def _flat(routes: Any) -> Any:
    # An included router is an object without a path from FastAPI 0.137 on.
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        return routes
    return iter_route_contexts(routes)


_installed: _Hooks | None = None


def _hooks() -> _Hooks:
    global _installed
    if _installed is None:
        _installed = _Hooks(settings.current())
    return _installed


__all__ = ["App", "SearchServiceInstrumentor", "instrument", "uninstrument"]
