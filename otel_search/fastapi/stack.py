"""Where our inner layers stand in the middleware stack that Starlette has built."""

from __future__ import annotations

from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from otel_search.middleware import BoundLayer, EdgeLayer, TraceLayer
from otel_search.redaction import Redactor


def arrange(stack: Any, redactor: Redactor, captures_headers: bool = False) -> Any:
    """Put our inner layers into a built stack, unless they are there; the stack itself is returned.

    `TraceLayer` comes inside of every layer that makes spans or error responses, and in place of
    contrib's own exception recorder, which would record the exception a second time and with its secrets.
    """
    responder = None
    layer = stack
    while isinstance(layer, (ServerErrorMiddleware, EdgeLayer)) or _is_contrib(layer):
        if isinstance(layer, ServerErrorMiddleware):
            responder = layer
        elif _is_contrib(layer) and isinstance(layer.app, ServerErrorMiddleware):
            layer.app = EdgeLayer(layer.app)
        layer = layer.app
    if responder is None:
        return stack  # a stack that is not Starlette's: requests are served, their spans say less
    responder.app = layer if isinstance(layer, TraceLayer) else TraceLayer(layer, redactor, captures_headers)
    _keep_bound_values(responder.app)
    return stack


def _is_contrib(layer: Any) -> bool:
    return type(layer).__module__.startswith("opentelemetry.instrumentation.") and hasattr(layer, "app")


def _keep_bound_values(layer: Any) -> None:
    in_function_style = False
    while hasattr(layer, "app"):
        in_function_style = in_function_style or isinstance(layer, BaseHTTPMiddleware)
        if isinstance(layer.app, ExceptionMiddleware):
            if in_function_style:
                layer.app = BoundLayer(layer.app)
            return
        layer = layer.app
