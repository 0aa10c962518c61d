"""The outer layer: request id, headers, access line, the one event of an unhandled exception."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_search.aside import context_without_telemetry
from otel_search.callers import Callers
from otel_search.context import CALLER, REQUEST_ID, Caller, accept_request_id, new_request_id
from otel_search.middleware.access import AccessLog
from otel_search.middleware.excluded import Excluded
from otel_search.middleware.headers import hide_captured_headers
from otel_search.middleware.metrics import ServerMetrics
from otel_search.middleware.state import (
    CURRENT,
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

_logger = logging.getLogger(__name__)

_REQUEST_ID_HEADER = b"x-request-id"
_ERROR_HEADERS = [(b"content-length", b"21"), (b"content-type", b"text/plain; charset=utf-8")]
_ERROR_BODY = b"Internal Server Error"


@dataclass(frozen=True)
class Options:
    """What the layers need of the settings.

    Attributes:
        excluded: Decides which requests have no telemetry.
        access_log: Writes the access lines.
        redactor: Hides secrets in query strings, exceptions and captured headers.
        metrics: Measures requests, where their span's maker does not do it right.
        captures_headers: Whether somebody puts headers on the server span.
        answers: Gives what answers an excluded request in the application's place, or `None`.
        callers: Finds out who requests come from.
        visited: Told who a request came from, at its end.
    """

    excluded: Excluded
    access_log: AccessLog
    redactor: Redactor
    metrics: ServerMetrics | None = None
    captures_headers: bool = False
    answers: Callable[[Scope], App | None] | None = None
    callers: Callers | None = None
    visited: Callable[[Caller], None] | None = None


class RequestLayer:
    """The outer layer.

    Args:
        app: The application with all of its middleware and telemetry.
        options: See `Options`.
    """

    def __init__(self, app: App, options: Options) -> None:
        self.app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; nested and other scopes pass as they are."""
        if scope["type"] not in ("http", "websocket") or STATE in scope:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        inbound = None
        if _REQUEST_ID_HEADER in headers:
            inbound = accept_request_id([value for name, value in scope["headers"] if name == _REQUEST_ID_HEADER])
            if inbound is not None and self._options.redactor.text(inbound) != inbound:
                inbound = None  # a token may look like an id
        state = RequestState(inbound or new_request_id(), headers)
        scope[STATE] = state
        tokens = REQUEST_ID.set(state.id), CURRENT.set(state), CALLER.set(state.caller)
        try:
            if self._options.excluded(scope, headers):
                state.excluded = True
                token = otel_context.attach(context_without_telemetry())
                try:
                    answer = None if self._options.answers is None else self._options.answers(scope)
                    if answer is None:
                        await self._serve(scope, receive, send, state)
                    else:
                        await answer(scope, receive, _heading(send, state))
                finally:
                    otel_context.detach(token)
            else:
                if self._options.callers is not None:
                    self._options.callers.arrived(scope, headers, state.caller)
                await self._serve(scope, receive, send, state)
        finally:
            REQUEST_ID.reset(tokens[0])
            CURRENT.reset(tokens[1])
            CALLER.reset(tokens[2])
            state.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, state: RequestState) -> None:
        options = self._options
        metrics = None if state.excluded else options.metrics
        is_http = scope["type"] == "http"
        options.access_log.start(scope, state)
        active = None if metrics is None or not is_http else metrics.start(scope)
        finished = False

        def finish() -> None:
            nonlocal finished
            if finished:
                return
            finished = True
            try:
                if metrics is not None and active is not None:
                    metrics.end(scope, state, active)
                options.access_log.end(scope, state)
                if options.visited is not None and state.caller.attributes and not state.excluded:
                    options.visited(state.caller)
            except Exception as error:
                _logger.warning("the end of a request could not be recorded: %r", error)

        async def observing_send(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                if options.callers is not None and not state.excluded:
                    options.callers.responding(scope, state.caller)
                state.status = message["status"]
                message = _with_headers(message, state)
                if options.captures_headers:
                    hide_captured_headers(state.span, options.redactor)
            elif kind == "websocket.close":
                state.status = message.get("code", 1000)
            elif kind == "websocket.http.response.start":
                message = _with_headers(message, state)
            await send(message)
            if (kind == "http.response.body" and not message.get("more_body", False)) or (
                kind == "http.response.pathsend"
            ):
                state.complete = True
                finish()

        async def observing_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                state.left = not state.complete
            elif message["type"] == "websocket.disconnect" and state.status is None:
                state.status = message.get("code", 1005)
            return message

        state.send = observing_send
        try:
            await self.app(scope, observing_receive, observing_send)
        except Exception as error:
            state.error = error
            if not is_disconnect(error):
                options.access_log.exception(scope, state, error)
                if is_http and state.status is None:
                    await _answer(observing_send)
            raise
        except BaseException as error:  # a cancelled request
            state.error = error if state.error is None else state.error
            raise
        finally:
            finish()


async def _answer(send: Send) -> None:
    """Answer where the application's own error handler has failed: as the server would, but with our headers."""
    # The client may have left; the application's exception matters more.
    with contextlib.suppress(Exception):
        await send({"type": "http.response.start", "status": 500, "headers": _ERROR_HEADERS})
        await send({"type": "http.response.body", "body": _ERROR_BODY})


def _heading(send: Send, state: RequestState) -> Send:
    async def heading_send(message: Message) -> None:
        await send(_with_headers(message, state) if message["type"] == "http.response.start" else message)

    return heading_send


def _with_headers(message: Message, state: RequestState) -> Message:
    headers = list(message.get("headers", ()))
    present = {name.lower(): value for name, value in headers}
    if _REQUEST_ID_HEADER not in present:
        headers.append((_REQUEST_ID_HEADER, state.id.encode()))
    if b"x-process-time" not in present:
        headers.append((b"x-process-time", b"%.6f" % (perf_counter() - state.started)))
    if state.span is not None and b"x-trace-id" not in present:
        headers.append((b"x-trace-id", trace.format_trace_id(state.span.get_span_context().trace_id).encode()))
    if present.get(b"content-type", b"").startswith(b"text/event-stream"):
        state.stream = True
    # A copy: applications may send the same message more than once.
    return {**message, "headers": headers}
