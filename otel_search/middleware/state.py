"""One request while it is served, and the words of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_search.context import Caller

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

STATE = "otel_search"
"""Where the scope of a request carries its `RequestState`."""

MOUNT_PREFIX = "otel_search.mount_prefix"
"""Where it carries the template of what is before the application's own routes, if an application around it has mounted it."""


class RequestState:
    """One request or WebSocket connection, while it is served.

    Attributes:
        id: The request id.
        headers: The request's headers by name; of a repeated one, the last.
        caller: Who it comes from.
        excluded: Whether it has no telemetry.
        started: The clock (`perf_counter`) when it arrived.
        send: The server's `send`, with our headers, without what lies between.
        span: The server span, if there is one.
        context: The OpenTelemetry context of the server span.
        described: Whether the span was made with all that is known of the request.
        native: FastAPI's own record of the request, where FastAPI makes the span.
        route: The template of the route, where contrib makes the span.
        query: The query string without its secrets; `None` until it was asked for.
        status: The status code of the response, or the close code of a WebSocket.
        error: The exception that nobody handled.
        left: Whether the client has closed the connection before the response was complete.
        complete: Whether the last byte of the response has been sent.
        stream: Whether the response is a stream of server-sent events.
        bound: What structlog has bound to the request, where the access line could not see it.
    """

    __slots__ = (
        "bound",
        "caller",
        "complete",
        "context",
        "described",
        "error",
        "excluded",
        "headers",
        "id",
        "left",
        "native",
        "query",
        "route",
        "send",
        "span",
        "started",
        "status",
        "stream",
    )

    def __init__(self, request_id: str, headers: Mapping[bytes, bytes]) -> None:
        self.id = request_id
        self.headers = headers
        self.caller = Caller()
        self.excluded = False
        self.started = perf_counter()
        self.send: Send | None = None
        self.span: trace.Span | None = None
        self.context: otel_context.Context | None = None
        self.described = False
        self.native: Any = None
        self.route: str | None = None
        self.query: str | None = None
        self.status: int | None = None
        self.error: BaseException | None = None
        self.left = False
        self.complete = False
        self.stream = False
        self.bound: Mapping[str, Any] | None = None

    def close(self) -> None:
        """Let go of all that has served the request.

        Who starts a timer within a request, as servers do for each, keeps its context until long after, and so this.
        """
        self.route = self.template()
        self.send = self.native = self.error = None

    def template(self) -> str | None:
        """The full template of the route that matched, from the outermost mount down, or `None`."""
        if self.native is None:
            return self.route
        route = getattr(self.native, "route", None)
        return None if route is None else str(route)


CURRENT: ContextVar[RequestState | None] = ContextVar("otel_search_request", default=None)
"""The request that is being served in this context."""


def is_disconnect(error: BaseException, *, cancelled: bool = True) -> bool:
    """Whether an exception says only that the client has left, or that the task was cancelled.

    Args:
        error: The exception.
        cancelled: Whether a cancelled task says no more than that.
    """
    # Starlette's ClientDisconnect and WebSocketDisconnect, without importing Starlette here.
    left = type(error).__name__ in {"ClientDisconnect", "WebSocketDisconnect"}
    return left or (cancelled and not isinstance(error, Exception))
