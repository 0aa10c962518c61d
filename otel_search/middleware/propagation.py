"""What OpenTelemetry's propagators say of a caller's headers, without the headers.

Their warnings repeat what was wrong, whatever its length, and so would write into the log what
a stranger has sent.
"""

from __future__ import annotations

import logging

_LOGGERS = (
    "opentelemetry.baggage",
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)


def _without_values(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and any(isinstance(arg, str) for arg in record.args):
        record.args = tuple(
            f"[{len(arg)} characters of a request header]" if isinstance(arg, str) else arg for arg in record.args
        )
    return True


def hide_rejected_headers() -> None:
    """Let the propagators' warnings name lengths in place of values; a second call does nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_values)


def show_rejected_headers() -> None:
    """Leave the propagators' warnings as they are."""
    for name in _LOGGERS:
        logging.getLogger(name).removeFilter(_without_values)
