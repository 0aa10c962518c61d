"""What every request gets, whoever answers it: an id, two timing headers, its access line.

Two pure ASGI layers. `RequestLayer` stands outside of everything, so that the framework's own
error responses are seen too. `TraceLayer` stands inside of the server span, to know it. Neither
touches what passes: messages are observed, bodies are never buffered, exceptions go on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_search import logs, semconv
from otel_search.context import REQUEST_ID, accept_request_id, new_request_id
from otel_search.logs.event import exception_type, stacktrace
from otel_search.logs.from_logging import LOGGED
from otel_search.redaction import Redactor

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

STATE = "otel_search"
"""Where the scope of a request carries its `RequestState`."""

_PROBES = re.compile(r"/(?:health(?:z|/.*)?|healthz|livez|live|readyz|ready|metrics)/?")
_ACCESS_LOGGER = "otel_search.access"
_ERROR_LOGGER = "otel_search.request"
_MAX_USER_AGENT = 512


@dataclass(frozen=True)
class Options:
    """What the layers need of the settings.

    Attributes:
        excluded: Patterns of URLs without telemetry, searched in the full URL as upstream does;
            health probes and `/metrics` are always without.
        access_log: Whether the end, or both ends, of a request are logged; asked at each start,
            because a server may be told after us to write no access log.
        redactor: Hides secrets in query strings.
    """

    excluded: tuple[re.Pattern[str], ...]
    access_log: Callable[[], str]
    redactor: Redactor


class RequestState:
    """One request or WebSocket connection, while it is served."""

    __slots__ = ("context", "error", "excluded", "id", "native", "received", "span", "started", "status")

    def __init__(self, request_id: str, excluded: bool) -> None:
        self.id = request_id
        self.excluded = excluded
        self.started = perf_counter()
        self.span: trace.Span | None = None
        self.context: otel_context.Context | None = None
        self.native: Any = None
        self.status: int | None = None
        self.error: BaseException | None = None
        self.received = False


class RequestLayer:
    """The outer layer: request id, headers, access line, the one event of an unhandled exception.

    Args:
        app: The application with all of its middleware and telemetry.
        options: See `Options`.
    """

    def __init__(self, app: App, options: Options) -> None:
        self.app = app
        self._options = options
        self._failing_probes: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; nested and non-HTTP scopes pass as they are."""
        if scope["type"] not in ("http", "websocket") or STATE in scope:
            await self.app(scope, receive, send)
            return
        inbound = [value for name, value in scope["headers"] if name == b"x-request-id"]
        request_id = (accept_request_id(inbound) if inbound else None) or new_request_id()
        state = RequestState(request_id, self._is_excluded(scope))
        scope[STATE] = state
        token = REQUEST_ID.set(request_id)
        try:
            if state.excluded:
                with suppress_instrumentation():
                    await self._serve(scope, receive, send, state)
            else:
                await self._serve(scope, receive, send, state)
        finally:
            REQUEST_ID.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, state: RequestState) -> None:
        options = self._options
        mode = options.access_log()
        is_http = scope["type"] == "http"
        if mode == "both" and not state.excluded:
            _log_access(logging.INFO, semconv.REQUEST_STARTED, self._fields(scope), state)
        finished = False

        def finish() -> None:
            nonlocal finished
            if finished:
                return
            finished = True
            if state.excluded:
                self._log_probe(scope, state)
            elif mode != "off":
                self._log_end(scope, state)

        async def observing_send(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                state.status = message["status"]
                _add_headers(message, state)
            elif kind == "websocket.close":
                state.status = message.get("code", 1000)
            await send(message)
            if kind == "http.response.body":
                if not message.get("more_body", False):
                    finish()
            elif kind == "http.response.pathsend":
                finish()

        async def observing_receive() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                state.status = message.get("code", 1005)
            return message

        try:
            await self.app(scope, receive if is_http else observing_receive, observing_send)
        except Exception as error:
            if state.error is None:
                state.error = error
            if not _is_disconnect(error):
                _log_exception(error, state)
            raise
        except BaseException as error:  # a cancelled request
            state.error = state.error or error
            raise
        finally:
            finish()

    def _is_excluded(self, scope: Scope) -> bool:
        path = scope["path"]
        root_path = scope.get("root_path", "")
        if root_path and path.startswith(root_path):
            path = path[len(root_path) :]
        if _PROBES.fullmatch(path):
            return True
        if not self._options.excluded:
            return False
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        url = f"{scope.get('scheme', 'http')}://{host}{scope['path']}"
        return any(pattern.search(url) for pattern in self._options.excluded)

    def _fields(self, scope: Scope) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if scope["type"] == "http":
            fields[semconv.HTTP_REQUEST_METHOD] = scope["method"]
        fields[semconv.URL_PATH] = scope["path"]
        if scope["query_string"]:
            fields[semconv.URL_QUERY] = self._options.redactor.query_string(scope["query_string"].decode("latin-1"))
        if scope.get("client"):
            fields[semconv.CLIENT_ADDRESS] = scope["client"][0]
        return fields

    def _log_end(self, scope: Scope, state: RequestState) -> None:
        fields = self._fields(scope)
        route = route_template(scope, state)
        if route is not None:
            fields[semconv.HTTP_ROUTE] = route
        level = logging.INFO
        if scope["type"] == "websocket":
            event = semconv.WEBSOCKET_COMPLETED
            if state.status is not None:
                fields[semconv.WEBSOCKET_CLOSE_CODE] = state.status
        else:
            event = semconv.REQUEST_COMPLETED
            if state.status is not None:
                fields[semconv.HTTP_RESPONSE_STATUS_CODE] = state.status
        if state.error is not None and not _is_disconnect(state.error):
            fields[semconv.ERROR_TYPE] = exception_type(type(state.error))
            level = logging.ERROR
        elif scope["type"] == "http":
            if state.status is None:
                fields[semconv.ERROR_TYPE] = "client_disconnected"
            elif state.status >= 500:
                fields[semconv.ERROR_TYPE] = str(state.status)
                level = logging.ERROR
        fields[semconv.LOG_DURATION] = round(perf_counter() - state.started, 6)
        _log_access(level, event, fields, state)

    def _log_probe(self, scope: Scope, state: RequestState) -> None:
        """A probe is asked every second: only a change of its answer is news."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        failing = state.status is None or state.status >= 500
        if failing == (path in self._failing_probes) or len(self._failing_probes) > 64:
            return
        (self._failing_probes.add if failing else self._failing_probes.discard)(path)
        fields = {**self._fields(scope), semconv.HTTP_RESPONSE_STATUS_CODE: state.status}
        event = "probe fails" if failing else "probe succeeds again"
        _log_access(logging.WARNING if failing else logging.INFO, event, fields, state)


class TraceLayer:
    """The inner layer, within the server span: names the caller on it, and notes what went wrong.

    Args:
        app: The application's own middleware and routes.
        redactor: Hides secrets in query strings and exception texts.
    """

    def __init__(self, app: App, redactor: Redactor) -> None:
        self.app = app
        self._redactor = redactor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; scopes that the outer layer has not seen pass as they are."""
        state: RequestState | None = scope.get(STATE)
        if state is None or state.context is not None:
            await self.app(scope, receive, send)
            return
        span = trace.get_current_span()
        state.context = otel_context.get_current()
        state.native = scope.get("fastapi.telemetry")
        if span.get_span_context().is_valid:
            state.span = span
            if span.is_recording():
                self._describe(span, scope, state)
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            state.error = error
            if span.is_recording() and not _is_disconnect(error):
                self._record_exception(span, error)
            raise
        finally:
            if scope["type"] == "websocket" and state.status is not None and span.is_recording():
                span.set_attribute(semconv.WEBSOCKET_CLOSE_CODE, state.status)

    def _describe(self, span: trace.Span, scope: Scope, state: RequestState) -> None:
        attributes: dict[str, str] = {semconv.REQUEST_ID: state.id}
        for name, value in scope["headers"]:
            if name == b"user-agent":
                attributes[semconv.USER_AGENT] = value[:_MAX_USER_AGENT].decode("latin-1")
                break
        if scope.get("client"):
            attributes[semconv.CLIENT_ADDRESS] = scope["client"][0]
        if scope["query_string"]:
            query = scope["query_string"].decode("latin-1")
            attributes[semconv.URL_QUERY] = self._redactor.query_string(query)
        span.set_attributes(attributes)

    def _record_exception(self, span: trace.Span, error: Exception) -> None:
        if any(event.attributes.get(semconv.EXCEPTION_TYPE) for event in getattr(span, "events", ())):
            return  # contrib has recorded it
        span.record_exception(error, attributes=self._exception_texts(error))

    def _exception_texts(self, error: Exception) -> dict[str, str]:
        try:
            message = str(error)
        except Exception:
            message = ""
        return {
            semconv.EXCEPTION_MESSAGE: self._redactor.text(message),
            semconv.EXCEPTION_STACKTRACE: self._redactor.text(stacktrace((type(error), error, error.__traceback__))),
        }


def route_template(scope: Scope, state: RequestState) -> str | None:
    """The full template of the route that matched, from the outermost mount down, or `None`."""
    if state.native is not None:
        route = getattr(state.native, "route", None)
        return None if route is None else str(route)
    attributes = getattr(state.span, "attributes", None)
    return None if attributes is None else attributes.get(semconv.HTTP_ROUTE)


def _add_headers(message: Message, state: RequestState) -> None:
    headers = list(message.get("headers", ()))
    names = {name.lower() for name, _ in headers}
    elapsed = perf_counter() - state.started
    own = [(b"x-request-id", state.id.encode()), (b"x-process-time", b"%.6f" % elapsed)]
    if state.span is not None:
        own.append((b"x-trace-id", trace.format_trace_id(state.span.get_span_context().trace_id).encode()))
    headers.extend(pair for pair in own if pair[0] not in names)
    message["headers"] = headers


def _is_disconnect(error: BaseException) -> bool:
    # Starlette's ClientDisconnect and WebSocketDisconnect, without importing Starlette here.
    return type(error).__name__ in {"ClientDisconnect", "WebSocketDisconnect"} or not isinstance(error, Exception)


def _log_access(level: int, event: str, fields: dict[str, Any], state: RequestState) -> None:
    chain = logs.chain()
    if chain is None:
        logging.getLogger(_ACCESS_LOGGER).log(level, event, extra={"otel_search_fields": fields})
        return
    try:
        chain.emit(created=time(), level=level, event=event, logger=_ACCESS_LOGGER, fields=fields, within=state.context)
    except Exception as error:
        logging.getLogger(_ACCESS_LOGGER).warning("the access line of a request could not be written: %r", error)


def _log_exception(error: Exception, state: RequestState) -> None:
    chain = logs.chain()
    if chain is None or getattr(error, LOGGED, False):
        return
    try:
        chain.emit(
            created=time(),
            level=logging.ERROR,
            event="unhandled exception",
            logger=_ERROR_LOGGER,
            fields={},
            # Without our own frame: the trace begins in the application's stack.
            exc_info=(type(error), error, error.__traceback__ and error.__traceback__.tb_next),
            within=state.context,
        )
        setattr(error, LOGGED, True)
    except Exception as failure:
        logging.getLogger(_ERROR_LOGGER).warning("an unhandled exception could not be logged: %r", failure)
