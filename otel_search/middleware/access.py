"""The lines that a request leaves: its access line, its unhandled exception, the change of a probe."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from time import perf_counter, time
from typing import Any

from otel_search import logs, semconv
from otel_search.logs.event import ExcInfo, exception_type
from otel_search.logs.from_logging import LOGGED
from otel_search.middleware.state import RequestState, Scope, is_disconnect
from otel_search.redaction import Redactor

_ACCESS_LOGGER = "otel_search.access"
_ERROR_LOGGER = "otel_search.request"
_MAX_PROBES = 64
_CLIENT_LEFT = "client_disconnected"


class AccessLog:
    """Writes the access lines of one application.

    Args:
        mode: Whether the `end` or `both` ends of a request are logged, the end of those that `failed`, or none
            (`off`); asked at each request, because a server may be told after us to write no access log.
        redactor: Hides secrets in query strings.
    """

    def __init__(self, mode: Callable[[], str], redactor: Redactor) -> None:
        self._mode = mode
        self._redactor = redactor
        self._failing_probes: set[str] = set()
        self._raising_probes: set[str] = set()

    def start(self, scope: Scope, state: RequestState) -> None:
        """A request has arrived."""
        if self._mode() == "both" and not state.excluded:
            _emit(logging.INFO, semconv.REQUEST_STARTED, self._fields(scope, state), _ACCESS_LOGGER, state)

    def end(self, scope: Scope, state: RequestState) -> None:
        """The last byte of the response has been sent, or the connection is over."""
        if state.excluded:
            self._probe(scope, state)
        elif (mode := self._mode()) != "off":
            self._line(scope, state, failed_only=mode == "failed")

    def exception(self, scope: Scope, state: RequestState, error: Exception) -> None:
        """Nobody handled `error`: one event, with its trace, whoever else reports it."""
        if getattr(error, LOGGED, False):
            return
        if not state.excluded or self._is_news(self._raising_probes, scope["path"]):
            # Without our own frames: the trace begins in the application's stack.
            exc_info = (type(error), error, error.__traceback__ and error.__traceback__.tb_next)
            _emit(logging.ERROR, "unhandled exception", {}, _ERROR_LOGGER, state, exc_info)
        if logs.chain() is not None:
            # An exception class that takes no attributes is reported by the server, too.
            with contextlib.suppress(Exception):
                setattr(error, LOGGED, True)

    def _fields(self, scope: Scope, state: RequestState) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if scope["type"] == "http":
            fields[semconv.HTTP_REQUEST_METHOD] = scope["method"]
        fields[semconv.URL_PATH] = scope["path"]
        query = redacted_query(scope, state, self._redactor)
        if query:
            fields[semconv.URL_QUERY] = query
        if scope.get("client"):
            fields[semconv.CLIENT_ADDRESS] = scope["client"][0]
        return fields

    def _line(self, scope: Scope, state: RequestState, *, failed_only: bool) -> None:
        fields = self._fields(scope, state)
        route = state.template()
        if route is not None:
            fields[semconv.HTTP_ROUTE] = route
        if scope["type"] == "http":
            event, error = semconv.REQUEST_COMPLETED, error_type(state)
            if state.status is not None:
                fields[semconv.HTTP_RESPONSE_STATUS_CODE] = state.status
            if state.stream:
                fields[semconv.RESPONSE_STREAM] = True
            elif error is None and not state.complete:
                error = _CLIENT_LEFT
        else:
            event = semconv.WEBSOCKET_COMPLETED
            error = None if state.error is None or is_disconnect(state.error) else exception_type(type(state.error))
            if state.status is not None:
                fields[semconv.WEBSOCKET_CLOSE_CODE] = state.status
        failed = error is not None and error != _CLIENT_LEFT
        if failed_only and not failed:
            return
        if error is not None:
            fields[semconv.ERROR_TYPE] = error
        fields[semconv.LOG_DURATION] = round(perf_counter() - state.started, 6)
        level = logging.ERROR if failed else logging.INFO
        _emit(level, event, fields, _ACCESS_LOGGER, state, is_last=True)

    def _probe(self, scope: Scope, state: RequestState) -> None:
        """A probe is asked every second: only a change of its answer is news."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        failing = state.status is None or state.status >= 500
        if not failing and path not in self._failing_probes:
            return
        fields = {**self._fields(scope, state), semconv.HTTP_RESPONSE_STATUS_CODE: state.status}
        if failing:
            if self._is_news(self._failing_probes, path):
                _emit(logging.WARNING, semconv.PROBE_FAILS, fields, _ACCESS_LOGGER, state)
        else:
            self._failing_probes.discard(path)
            self._raising_probes.discard(path)
            _emit(logging.INFO, semconv.PROBE_SUCCEEDS, fields, _ACCESS_LOGGER, state)

    @staticmethod
    def _is_news(known: set[str], path: str) -> bool:
        if path in known or len(known) >= _MAX_PROBES:
            return False
        known.add(path)
        return True


def redacted_query(scope: Scope, state: RequestState, redactor: Redactor) -> str:
    """The query string without its secrets; the span and the line share it."""
    if state.query is None:
        raw = scope.get("query_string") or b""
        state.query = redactor.query_string(raw.decode("latin-1")) if raw else ""
    return state.query


def error_type(state: RequestState) -> str | None:
    """What `error.type` is for an HTTP request: an exception's class, a status from 500 on, or nothing."""
    # Who waits for an answer and gets none, or half of one, has not left.
    cancelled = state.left or state.status is None or state.stream
    if state.error is not None and not is_disconnect(state.error, cancelled=cancelled):
        return exception_type(type(state.error))
    return str(state.status) if state.status is not None and state.status >= 500 else None


def _emit(
    level: int,
    event: str,
    fields: dict[str, Any],
    logger: str,
    state: RequestState,
    exc_info: ExcInfo | None = None,
    *,
    is_last: bool = False,
) -> None:
    if state.bound:
        fields = {**state.bound, **fields}
    chain = logs.chain()
    if chain is None:
        logging.getLogger(logger).log(level, event, extra={"otel_search_fields": fields}, exc_info=exc_info)
        return
    try:
        chain.emit(
            created=time(),
            level=level,
            event=event,
            logger=logger,
            fields=fields,
            exc_info=exc_info,
            within=state.context,
            is_last=is_last,
        )
    except Exception as error:
        logging.getLogger(logger).warning("the line %r of a request could not be written: %r", event, error)
