"""The inner layers: within the server span, and within function-style middleware."""

from __future__ import annotations

import contextlib
from asyncio import CancelledError

from opentelemetry import context as otel_context
from opentelemetry import trace
from structlog.contextvars import get_contextvars

from otel_search import semconv
from otel_search.logs.event import exception_type, stacktrace
from otel_search.logs.values import MAX_TEXT, Values
from otel_search.middleware.access import redacted_query
from otel_search.middleware.headers import hide_captured_headers
from otel_search.middleware.state import (
    MOUNT_PREFIX,
    STATE,
    App,
    Message,
    Receive,
    RequestState,
    Scope,
    Send,
    is_disconnect,
)
from otel_search.redaction import Redactor

_MAX_USER_AGENT = 512
_MAX_MESSAGES = 64


def request_attributes(scope: Scope, state: RequestState, redactor: Redactor) -> dict[str, str]:
    """What a server span says of a request and its caller, besides what its maker says.

    Args:
        scope: The request.
        state: What is known of it.
        redactor: Hides secrets in the query string.
    """
    attributes: dict[str, str] = {semconv.REQUEST_ID: state.id}
    user_agent = state.headers.get(b"user-agent")
    if user_agent is not None:
        attributes[semconv.USER_AGENT] = user_agent[:_MAX_USER_AGENT].decode("latin-1")
    if scope.get("client"):
        attributes[semconv.CLIENT_ADDRESS] = scope["client"][0]
    query = redacted_query(scope, state, redactor)
    if query:
        attributes[semconv.URL_QUERY] = query
    return attributes


class TraceLayer:
    """Within the server span: names the caller on it, and notes what went wrong.

    Args:
        app: The application's own middleware and routes.
        redactor: Hides secrets in query strings, exceptions and captured headers.
        captures_headers: Whether somebody puts headers on the span.
    """

    def __init__(self, app: App, redactor: Redactor, captures_headers: bool = False) -> None:
        self.app = app
        self._redactor = redactor
        self._values = Values(redactor)
        self._captures_headers = captures_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; scopes that the outer layer has not seen pass as they are."""
        state: RequestState | None = scope.get(STATE)
        if state is None or state.context is not None or state.excluded:
            await self.app(scope, receive, send)
            return
        span = trace.get_current_span()
        state.context = otel_context.get_current()
        state.native = scope.get("fastapi.telemetry")
        if state.native is not None and MOUNT_PREFIX in scope:
            state.native._mount_prefix = scope[MOUNT_PREFIX]  # FastAPI leaves it out
        if span.get_span_context().is_valid:
            state.span = state.caller.span = span
            if span.is_recording():
                self._describe(span, scope, state)
        try:
            await self.app(scope, receive, send)
            if state.left:
                await _end_stream(state, send)
        except Exception as error:
            state.error = error
            if is_disconnect(error):
                await _end_stream(state, send)
            else:
                self._note(span, error, scope, state)
            raise
        except CancelledError as error:
            if scope["type"] == "http" and state.status is None:
                _see_who_is_there(receive)
                if not state.left:
                    # The server has no more patience, as at its end, and answers so itself.
                    self._note(span, error, scope, state)
                    state.status = 500
            raise
        finally:
            if scope["type"] == "websocket" and state.status is not None:
                span.set_attribute(semconv.WEBSOCKET_CLOSE_CODE, state.status)

    def _describe(self, span: trace.Span, scope: Scope, state: RequestState) -> None:
        if not state.described:
            span.set_attributes(request_attributes(scope, state, self._redactor))
        if state.route is not None and scope["type"] == "websocket":
            span.update_name(f"WS {state.route}")  # contrib calls it HTTP
        if self._captures_headers:
            hide_captured_headers(span, self._redactor)

    def _note(self, span: trace.Span, error: BaseException, scope: Scope, state: RequestState) -> None:
        if scope["type"] == "http" and state.status is None:
            # What the client gets, if not from the application's error handler then from us. The
            # handler's own status, if it differs, is noted when its response starts.
            if state.native is not None and getattr(state.native, "status_code", 0) is None:
                state.native.status_code = 500
            span.set_attribute(semconv.HTTP_RESPONSE_STATUS_CODE, 500)
        if not span.is_recording():
            return
        kind = exception_type(type(error))
        attributes = {
            semconv.EXCEPTION_TYPE: kind,
            semconv.EXCEPTION_MESSAGE: self._values.of_object(error),
            semconv.EXCEPTION_STACKTRACE: self._values.text(
                stacktrace((type(error), error, error.__traceback__)), 2 * MAX_TEXT
            ),
        }
        # Not `record_exception`, which asks the exception for its text without care.
        span.add_event("exception", attributes)
        if state.native is None:
            span.set_attribute(semconv.ERROR_TYPE, kind)
            span.set_status(trace.StatusCode.ERROR)


def _see_who_is_there(receive: Receive) -> None:
    """Let the layers around see what the server knows of the client, without waiting for anything: whether it has left."""
    for _ in range(_MAX_MESSAGES):
        waiting = receive().__await__()
        try:
            next(waiting)  # up to where it would wait
        except StopIteration as received:
            if received.value["type"] == "http.disconnect":
                return
        except Exception:
            return
        else:
            waiting.close()
            return


class EdgeLayer:
    """Directly within contrib's span: what escapes ends the span here, and WebSocket messages pass it by.

    Contrib would record the exception a second time, with its secrets, take a client that has left
    for an error, and give each WebSocket message the status code 200.

    Args:
        app: The layer that answers errors, and all within it.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; scopes that the outer layer has not seen pass as they are."""
        state: RequestState | None = scope.get(STATE)
        if state is None:
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket" and state.send is not None:
            send = state.send
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            state.error = error
            span = state.span
            if span is not None and span.is_recording():
                if not is_disconnect(error):
                    span.set_attribute(semconv.ERROR_TYPE, exception_type(type(error)))
                span.end()
            raise


async def _end_stream(state: RequestState, send: Send) -> None:
    """End the span of a stream of events whose client has left: its usual end, and no failure."""
    if state.stream and not state.complete:
        with contextlib.suppress(Exception):  # a server has nobody to send this to
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class BoundLayer:
    """Within function-style middleware: keeps what structlog has bound there for the access line.

    Starlette's `BaseHTTPMiddleware` runs the rest of the application in another task, whose context
    variables are gone where the access line is written.

    Args:
        app: What the middleware wraps.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; scopes that the outer layer has not seen pass as they are."""
        state: RequestState | None = scope.get(STATE)
        if state is None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def binding_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                state.bound = get_contextvars()
            await send(message)

        try:
            await self.app(scope, receive, binding_send)
        except Exception:
            state.bound = get_contextvars()
            raise
