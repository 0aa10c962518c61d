"""How a log event looks on stdout: one JSON object a line, or coloured text for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import structlog

from otel_search import semconv

Render = Callable[[Mapping[str, Any]], str]
"""Turns the fields of an event, already safe values, into one line without its end."""

# JSON allows these as they are, but terminals obey them and some readers split lines at them.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029]")


def json_line(fields: Mapping[str, Any]) -> str:
    """One JSON object, strict and on one line."""
    line = orjson.dumps(fields).decode()
    if not line.isascii() or "\x7f" in line:
        line = _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
    return line


def console_line() -> Render:
    """A renderer for people, with colours if structlog finds that they can be shown."""
    renderer = structlog.dev.ConsoleRenderer(sort_keys=False)

    def render(fields: Mapping[str, Any]) -> str:
        event = dict(fields)
        for hidden in (semconv.LOG_TRACE_FLAGS, semconv.LOG_SPAN_ID, semconv.LOG_SERVICE_NAME):
            event.pop(hidden, None)
        stacktrace = event.pop(semconv.EXCEPTION_STACKTRACE, None)
        event = {key: _one_line(value) for key, value in event.items()}
        if stacktrace:
            event["exception"] = stacktrace.rstrip("\n")
        return str(renderer(None, "", event))

    return render


def _one_line(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
    return value
