"""Lines that keep the form that the application has chosen: without their secrets, and else as they were.

JSON stays JSON: it is taken apart, hidden in by the names of fields at any depth, and put together in its own manner. A text
with colours loses them where something is hidden, as a name and its value may have colours of their own.
"""

from __future__ import annotations

import json
import logging
import re
import weakref
from typing import Any

from otel_search.logs.variables import Variables, may_show_variables
from otel_search.redaction import MARKER, Redactor, marker

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BEGINNING = re.compile(r"""[{\[](?:\n( +))?"(?:[^"\\]|\\.)*":( ?)""")
_LONG_INTEGER = 10**12
"""From here on a number may be that of a card."""


class Kept:
    """Hides secrets in finished lines. They are not counted: the event's record has them, too, and counts them.

    Args:
        redactor: Says what is hidden.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._variables = Variables(redactor)
        self._handlers: weakref.WeakSet[logging.Handler] = weakref.WeakSet()

    def line(self, line: str) -> str:
        """Return a line without its secrets; most have none, and are the same object again."""
        try:
            return self._line(line)
        except Exception:  # the application's own line, which it is not ours to lose
            return line

    def written(self, line: Any) -> Any:
        """As `line`, for whatever somebody writes: a text, or its bytes."""
        if type(line) is bytes:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                return line
            hidden = self.line(text)
            return line if hidden is text else hidden.encode()
        return self.line(line) if type(line) is str else line

    def _line(self, line: str) -> str:
        if "\x1b[" not in line:
            return self._plain(line)
        plain = _COLOUR.sub("", line)
        hidden = self._plain(plain)
        return line if hidden == plain else hidden

    def _plain(self, line: str) -> str:
        # Some escape the slash, too, which is in what looks like a secret.
        if self._redactor.is_harmless(line) and "\\/" not in line and not may_show_variables(line):
            return line
        if line[:1] not in ("{", "["):
            return self._text(line)
        text = line.rstrip()
        try:
            event = json.loads(text)
            hidden = self._value(event)
        except (ValueError, RecursionError):  # no JSON
            return self._text(line)
        return line if hidden == event else _like(text, hidden) + line[len(text) :]

    def _text(self, text: str) -> str:
        if may_show_variables(text):
            text = self._variables.diagnosed(text)
        return self._variables.shown(text)

    def _value(self, value: Any) -> Any:
        if type(value) is str:
            return self._text(value)
        if type(value) is dict:
            kind = self._redactor.kind_of_value(value)
            named = ((self._redactor.hidden(name), item) for name, item in value.items())
            return {name: self._field(name, item, kind if name == "value" else None) for name, item in named}
        if type(value) is list:
            kinds = self._redactor.kinds_in(value) or [None] * len(value)
            return [self._field("", item, kind) for item, kind in zip(value, kinds, strict=True)]
        if type(value) is int and abs(value) >= _LONG_INTEGER:
            text = str(value)
            hidden = self._redactor.hidden(text)
            return value if hidden == text else hidden
        return value

    def _field(self, name: str, value: Any, kind: str | None = None) -> Any:
        kind = self._redactor.field(name) or kind
        if kind is None and isinstance(value, dict | list):
            kind = self._redactor.many(name)
        if kind is None:
            return self._value(value)
        is_hidden = value is None or (type(value) is str and MARKER.fullmatch(value))
        return value if is_hidden else marker(kind)

    def stand_in(self, handler: logging.Handler) -> None:
        """Look at all that a handler formats from now on; a second time does nothing."""
        if type(handler.__dict__.get("format")) is _Format:
            return
        handler.acquire()
        try:  # another thread may have been faster
            if type(handler.__dict__.get("format")) is not _Format:
                # rich's, which does not format an exception's event.
                if callable(getattr(handler, "render_message", None)):
                    handler.__dict__["render_message"] = _Message(handler, self, "render_message")
                handler.__dict__["format"] = _Format(handler, self, "format")
                self._handlers.add(handler)
        finally:
            handler.release()

    def give_back(self) -> None:
        """Leave the handlers as they were."""
        for handler in list(self._handlers):
            for name, stand in list(handler.__dict__.items()):
                if isinstance(stand, _Stand):
                    if stand.own is None:
                        del handler.__dict__[name]
                    else:
                        handler.__dict__[name] = stand.own
        self._handlers.clear()


class _Stand:
    """In the place of a handler's method."""

    def __init__(self, handler: logging.Handler, kept: Kept, name: str) -> None:
        self.own: Any = handler.__dict__.get(name)
        self._name = name
        self._handler = weakref.ref(handler)
        self._kept = kept

    def _ask(self, *arguments: Any) -> Any:
        handler: Any = self._handler()
        return self.own(*arguments) if self.own is not None else getattr(type(handler), self._name)(handler, *arguments)


class _Format(_Stand):
    def __call__(self, record: logging.LogRecord) -> Any:
        text = self._ask(record)
        return self._kept.line(text) if type(text) is str else text


class _Message(_Stand):
    def __call__(self, record: logging.LogRecord, message: str) -> Any:
        message = self._kept.line(message)
        if getattr(record, "markup", getattr(self._handler(), "markup", False)):
            message = MARKER.sub(r"\\\g<0>", message)  # which is no style
        return self._ask(record, message)


def _like(text: str, value: Any) -> str:
    """JSON in the manner of another one: in one line or many, with spaces or none, in ASCII or not."""
    beginning = _BEGINNING.match(text)
    indent, space = beginning.groups() if beginning is not None else (None, " ")
    return json.dumps(
        value,
        # Half a pair of surrogates cannot be written but as an escape.
        ensure_ascii=text.isascii() or "\\ud" in text.lower(),
        indent=len(indent) if indent else None,
        separators=("," if indent or not space else ", ", f":{space}"),
    )
