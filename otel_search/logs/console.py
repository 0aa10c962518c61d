"""Handlers that write to the console: which they are, and whose lines stay in the form that they have."""

from __future__ import annotations

import contextlib
import logging
import sys
import weakref
from typing import Any

# Formatters that somebody gets without having chosen them: text for people between our lines. And structlog's,
# whose event we take before it is rendered.
_NOBODYS_CHOICE = frozenset({"logging", "uvicorn", "gunicorn", "hypercorn", "fastapi_cli", "structlog"})


DEVICES = frozenset({"/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2"})
"""Where `FileHandler` writes in many a container."""
_descriptors: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def is_console(handler: logging.Handler) -> bool:
    """Whether a handler writes to the process's own stdout or stderr."""
    if isinstance(handler, logging.FileHandler):
        return handler.baseFilename in DEVICES
    if isinstance(handler, logging.StreamHandler):
        return is_standard_stream(handler.stream)
    # rich's handler
    return is_standard_stream(getattr(getattr(handler, "console", None), "file", None))


def is_standard_stream(stream: Any) -> bool:
    """Whether a stream is the process's stdout or stderr, as they are now or were at its start, or one to the same place."""
    if stream is None:
        return False
    return any(
        stream is standard or stream is getattr(standard, "buffer", sys)
        for standard in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    ) or _writes_to_descriptor(stream)


def _writes_to_descriptor(stream: Any) -> bool:
    """Whether a stream of the application's own making writes to file descriptor 1 or 2: `os.fdopen(1)`, a codec around stdout."""
    try:
        known = _descriptors.get(stream)
    except TypeError:  # one that cannot be remembered
        return False
    if known is None:
        try:
            known = stream.fileno() in (1, 2)
        except Exception:  # a StringIO has none, and whatever else an application takes for a stream
            known = False
        with contextlib.suppress(TypeError):
            _descriptors[stream] = known
    return known


def has_a_form_of_its_own(handler: logging.Handler) -> bool:
    """Whether the application has chosen how this handler's lines look, by a class: JSON by python-json-logger, rich."""
    formatter = handler.formatter
    if formatter is not None and _root(formatter) not in _NOBODYS_CHOICE:
        return True
    return not isinstance(handler, logging.StreamHandler)


def _root(value: object) -> str:
    return type(value).__module__.partition(".")[0]
