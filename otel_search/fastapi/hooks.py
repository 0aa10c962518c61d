"""Our hooks on the class `FastAPI`, and which applications they serve.

They are on the class, so that it makes no difference whether an application was made before or
after them, is a subclass, or gets its routes and middleware later.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from typing import Any

import fastapi

from otel_search import callers, health, logs, settings, threads
from otel_search.endpoints import Endpoints, application_paths
from otel_search.fastapi import contrib, lean_native, lifespan, native, stack, threadpool
from otel_search.fastapi.answers import Answers
from otel_search.fastapi.endpoints import make_endpoints
from otel_search.fastapi.templates import outer_prefix
from otel_search.middleware import (
    MOUNT_PREFIX,
    STATE,
    AccessLog,
    Excluded,
    Options,
    Receive,
    RequestLayer,
    Scope,
    Send,
    ServerMetrics,
    propagation,
)
from otel_search.redaction import redactor_of

_logger = logging.getLogger(__name__)

# The servers' own access logs say less than ours, and without trace ids.
_SERVERS_ACCESS_LOGS = ("uvicorn.access", "gunicorn.access", "hypercorn.access")
_LAYER = "_otel_search_layer"


class Hooks:
    """The hooks of one process.

    Args:
        effective: The settings of the process.
    """

    def __init__(self, effective: settings.Settings) -> None:
        self._every_app = False
        self._chosen: weakref.WeakSet[fastapi.FastAPI] = weakref.WeakSet()
        self._excepted: weakref.WeakSet[fastapi.FastAPI] = weakref.WeakSet()
        self._prepared: weakref.WeakSet[fastapi.FastAPI] = weakref.WeakSet()
        self._originals: dict[str, Callable[..., Any]] = {}
        self._settings = effective
        self._source = _source(effective)
        self._redactor = redactor_of(effective)
        self._captures_headers = settings.is_any_set("HTTP_CAPTURE_HEADERS_SERVER")
        self._metrics: ServerMetrics | None = None
        self._endpoints: Endpoints | None = None

    def choose_all(self) -> None:
        """Serve every application, made before or after this call."""
        self._every_app = True
        logs.take_again()
        self._install()

    def choose(self, app: fastapi.FastAPI) -> None:
        """Serve one application."""
        self._excepted.discard(app)
        self._chosen.add(app)
        logs.take_again()
        self._install()
        self._configure(app)

    def leave(self, app: fastapi.FastAPI) -> None:
        """Serve one application no longer, and leave it as it was."""
        self._chosen.discard(app)
        self._excepted.add(app)
        self._restore(app)
        if not self._every_app and not self._chosen:
            self.uninstall()

    def _serves(self, app: fastapi.FastAPI) -> bool:
        return (self._every_app and app not in self._excepted) or app in self._chosen

    def _install(self) -> None:
        if self._originals:
            return
        hooks = self
        cls = fastapi.FastAPI
        self._originals = {name: getattr(cls, name) for name in ("__init__", "__call__", "build_middleware_stack")}
        originals = self._originals

        def __init__(self: fastapi.FastAPI, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - FastAPI's own
            originals["__init__"](self, *args, **kwargs)
            if hooks._every_app:
                hooks._configure(self, kwargs.get("telemetry") or {})

        async def __call__(self: fastapi.FastAPI, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: N807
            if STATE in scope:
                await originals["__call__"](self, scope, receive, send)
                return
            layer = self.__dict__.get(_LAYER)
            if layer is None or layer.app.__self__ is not self:  # an application that was copied has the copied layer
                if not hooks._serves(self):
                    await originals["__call__"](self, scope, receive, send)
                    return
                try:
                    layer = hooks._layer(self)
                    hooks.endpoints(self).begin()
                    logs.begin_serving()
                except Exception as error:
                    hooks._give_up(self, error)
                    await originals["__call__"](self, scope, receive, send)
                    return
            if scope["type"] == "lifespan":
                await lifespan.serve(layer.app, scope, receive, send, hooks.endpoints(self))
            else:
                if "app_root_path" in scope:  # mounted in an application that is not FastAPI's
                    scope[MOUNT_PREFIX] = outer_prefix(scope)
                await layer(scope, receive, send)

        def build_middleware_stack(self: fastapi.FastAPI) -> Any:
            built = originals["build_middleware_stack"](self)
            return stack.arrange(built, hooks._redactor, hooks._captures_headers)

        __init__.__wrapped__ = originals["__init__"]  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign]
        cls.__call__ = __call__  # type: ignore[method-assign]
        cls.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]
        if "health" in self._settings.routes:
            health.watch()
        if self._source == "native" and self._settings.hot_path == "lean":
            lean_native.install(self._redactor)
        logs.replace(_SERVERS_ACCESS_LOGS)
        propagation.hide_rejected_headers()
        threads.install()
        threadpool.install()

    def uninstall(self) -> None:
        """Take all hooks off."""
        for app in list(self._prepared):
            self._restore(app)
        for name, original in self._originals.items():
            setattr(fastapi.FastAPI, name, original)
        self._originals = {}
        self._every_app = False
        lean_native.uninstall()
        logs.replace(())
        logs.give_back()
        propagation.show_rejected_headers()
        threads.uninstall()
        threadpool.uninstall()

    def _configure(self, app: fastapi.FastAPI, explicit: Any = ()) -> None:
        self._prepared.add(app)
        native.configure(
            app,
            explicit,
            operation_spans=self._settings.operation_spans,
            silent=self._source == "off",
        )

    def _restore(self, app: fastapi.FastAPI) -> None:
        self._prepared.discard(app)
        app.__dict__.pop(_LAYER, None)
        native.restore(app)
        contrib.restore(app)

    def _layer(self, app: fastapi.FastAPI) -> RequestLayer:
        """The outer layer of an application that is served for the first time, and all that belongs to it."""
        self._configure(app)
        metrics = None
        if self._source == "contrib" and contrib.instrument(app, self._arranged):
            if self._metrics is None:
                self._metrics = ServerMetrics(contrib.known_method())
            metrics = self._metrics
        if app.middleware_stack is None:
            app.middleware_stack = app.build_middleware_stack()
        self._arranged(app.middleware_stack)
        excluded = self._settings.fastapi_excluded_urls or self._settings.excluded_urls
        layer = RequestLayer(
            self._originals["__call__"].__get__(app),
            Options(
                excluded=Excluded(excluded, app.root_path, application_paths(self._settings)),
                access_log=AccessLog(_AccessLogMode(self._settings.access_log), self._redactor),
                redactor=self._redactor,
                metrics=metrics,
                captures_headers=self._captures_headers,
                answers=Answers(app, lambda: self.endpoints(app)),
                callers=callers.current(),
                visited=self.endpoints(app).visited,
            ),
        )
        app.__dict__[_LAYER] = layer
        return layer

    def _give_up(self, app: fastapi.FastAPI, error: Exception) -> None:
        """Serve an application as it is, if what we add to it fails."""
        if app.middleware_stack is None:
            return  # its own middleware cannot be made, as it says itself: the next request may find it otherwise
        self._chosen.discard(app)
        self._excepted.add(app)
        # What was added and stays is no use, and no harm, to an application that is served as it is.
        with contextlib.suppress(Exception):
            self._restore(app)
        text = "the application %r is served without telemetry, because it cannot be prepared for it: %s: %s"
        _logger.error(text, app.title, type(error).__name__, error)

    def endpoints(self, app: fastapi.FastAPI) -> Endpoints:
        """Our routes in this process; the first application that is served gives its version."""
        if self._endpoints is None:
            self._endpoints = make_endpoints(self._settings, app)
        return self._endpoints

    def _arranged(self, built: Any) -> Any:
        return stack.arrange(built, self._redactor, self._captures_headers)


def _source(effective: settings.Settings) -> str:
    if effective.fastapi == "auto":
        return "native" if native.IS_THERE else "contrib"
    if effective.fastapi == "native" and not native.IS_THERE:
        _logger.error(
            "OTEL_SEARCH_FASTAPI=native needs FastAPI 0.142 or later, this is %s: using contrib", fastapi.__version__
        )
        return "contrib"
    return effective.fastapi


class _AccessLogMode:
    """Whether requests are logged: as set, else as the server was told."""

    def __init__(self, chosen: str | None) -> None:
        self._found: str | None = chosen

    def __call__(self) -> str:
        if self._found is None:
            # uvicorn's --no-access-log leaves a logger with no way out. gunicorn has no access log by
            # default and does the same to uvicorn's, which says nothing of what the user wants.
            import sys

            access = logging.getLogger("uvicorn.access")
            silenced = not access.handlers and not access.propagate
            self._found = "off" if silenced and "gunicorn.arbiter" not in sys.modules else "end"
            if self._found == "end" and access.level > logging.INFO:  # `uvicorn --log-level warning`
                self._found = "failed"
        return self._found


_hooks: Hooks | None = None


def hooks() -> Hooks:
    """The hooks of this process, made at the first call."""
    global _hooks
    if _hooks is None:
        _hooks = Hooks(settings.current())
    return _hooks
