"""Turns anything that an application logs into what JSON and OTLP can hold.

One bad value costs that value, never the line, the batch or the application: whatever an object
does when it is looked at, the result is text, bounded in size and free of secrets.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import date, datetime, time
from enum import Enum
from functools import lru_cache
from typing import Any

from otel_search.redaction import MARKER, SHORT, Redactor

MAX_TEXT = 16 * 1024
"""Characters of one text value; a stacktrace may have twice as many."""

_MARGIN = 4096
"""Characters that are looked at beyond a cut, so that no half of a secret stays; a long private key has 3300."""
_MAX_DEPTH = 8
_MAX_ITEMS = 256
_MAX_TOTAL = 4_096
"""Items of a whole structure, however they are nested; 64 characters of text count as one."""
_SCALARS = frozenset({str, int, float, bool, type(None)})
_MAX_INTEGER = 2**63 - 1
_LONG_INTEGER = 10**12


class Values:
    """Converts values for log lines and log records.

    Args:
        redactor: Hides secrets by the names of fields and in texts.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._short_name_kind = lru_cache(maxsize=2048)(redactor.field)
        # Routes, methods, addresses, events: most short texts come again and again, and so do names.
        self._short = lru_cache(maxsize=4096)(self._clean)
        self._name = lru_cache(maxsize=2048)(self._clean)

    def field(self, name: str, value: Any) -> Any:
        """The value of the field `name`: None, bool, int, float, str, or lists and dicts of these."""
        secret = self._short_name_kind(name) if len(name) < SHORT else self._redactor.field(name)
        if secret is not None:
            return self._hidden(secret, value)
        kind = type(value)
        if kind is str:
            if len(value) >= SHORT:
                return self.text(value)
            safe = self._short(value)
            return safe if safe == value else self._counted(value, safe)
        if value is None or kind is bool:
            return value
        secret = None if kind in _SCALARS else self._redactor.many(name)
        return self._value(value, 0, [_MAX_TOTAL]) if secret is None else self._hidden(secret, value)

    def _hidden(self, kind: str, value: Any) -> Any:
        if value is None or (type(value) is str and MARKER.fullmatch(value)):
            return value
        return self._redactor.hide(kind)

    def name(self, key: Any) -> str:
        """The name of a field, which may itself be anything."""
        return self._name(key) if type(key) is str and len(key) < SHORT else self.of_object(key)

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """A text without secrets and lone surrogates, at most about `limit` characters long."""
        length = len(text)
        if length < SHORT:
            safe = self._short(text)
            return safe if safe == text else self._counted(text, safe)
        if length > limit:
            # The beginning says what it is, the end of a traceback what went wrong.
            half = limit // 2
            beginning = self._redactor.text(_encodable(text[: half + _MARGIN]))[:half]
            end = self._redactor.text(_encodable(text[-half - _MARGIN :]))[-half:]
            return f"{beginning}… [{length - 2 * half} characters left out] …{end}"
        return self._redactor.text(_encodable(text))

    def _counted(self, text: str, safe: str) -> str:
        self._redactor.count(text, safe)
        return safe

    def _clean(self, text: str) -> str:
        return self._redactor.hidden(_encodable(text))

    def of_object(self, value: Any) -> str:
        """An object as text, whatever its own idea of that does."""
        try:
            return self.text(str(value))
        except Exception as error:
            return f"<{type(value).__name__}: its text raises {type(error).__name__}>"

    def _value(self, value: Any, depth: int, left: list[int]) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            text = self.text(value)
            left[0] -= len(text) >> 6
            return text
        if kind is int:
            if -_LONG_INTEGER < value < _LONG_INTEGER:
                return value
            text = self.text(str(value))  # which may be the number of a card
            return value if -_MAX_INTEGER <= value <= _MAX_INTEGER and text.lstrip("-").isdigit() else text
        if kind is float:
            return value if math.isfinite(value) else str(value)
        try:
            return self._converted(value, depth, left)
        except Exception:
            return self.of_object(value)

    def _converted(self, value: Any, depth: int, left: list[int]) -> Any:
        if isinstance(value, Enum):
            return self._value(value.value, depth, left)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.text(bytes(value[: 4 * MAX_TEXT]).decode("utf-8", "backslashreplace"))
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        if isinstance(value, (bool, int, float, str)):  # subclasses of these, by their plain value
            base = next(base for base in (bool, str, int, float) if isinstance(value, base))
            return self._value(base(value), depth, left)
        if not isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._of_structure(value, depth, left)
        if depth >= _MAX_DEPTH:  # also the end of a structure that contains itself
            return f"<{type(value).__name__} too deep>"
        if isinstance(value, dict):
            return self._dict(value, depth, left)
        items: list[Any] = []
        kinds = self._kinds_in(value)
        for number, item in enumerate(value):
            if number == _MAX_ITEMS or left[0] <= 0:
                items.append(f"… {len(value) - number} more")
                break
            left[0] -= 1
            kind = kinds[number] if number < len(kinds) else None
            items.append(self._value(item, depth + 1, left) if kind is None else self._hidden(kind, item))
        return items

    def _kinds_in(self, value: Any) -> Sequence[str | None]:
        """What kinds of secrets a sequence holds: a list by its items, a named tuple by its names."""
        if type(value) is tuple or type(value) is list:
            return self._redactor.kinds_in(value[:_MAX_ITEMS] if len(value) > _MAX_ITEMS else value)
        names = getattr(value, "_fields", ())
        return [self._redactor.field(name) for name in names] if isinstance(value, tuple) else ()

    def _dict(self, value: dict[Any, Any], depth: int, left: list[int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        named = self._redactor.kind_of_value(value)
        for count, (key, item) in enumerate(value.items()):
            if count == _MAX_ITEMS or left[0] <= 0:
                result["…"] = f"{len(value) - count} more"
                break
            left[0] -= 1
            name = self.name(key)
            kind = self._redactor.field(name) or (named if name == "value" else None)
            if kind is None and type(item) not in _SCALARS:
                kind = self._redactor.many(name)
            result[name] = self._value(item, depth + 1, left) if kind is None else self._hidden(kind, item)
        return result

    def _of_structure(self, value: Any, depth: int, left: list[int]) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
            return self._value(fields, depth, left)
        if callable(getattr(type(value), "model_dump", None)):  # pydantic, without importing it
            return self._value(value.model_dump(), depth, left)
        if hasattr(type(value), "dtype") and callable(getattr(value, "tolist", None)):  # numpy and its like
            # A large array's own text is short; its list would take the event loop's time.
            is_large = getattr(value, "size", 1) > _MAX_ITEMS
            return self.of_object(value) if is_large else self._value(value.tolist(), depth, left)
        return self.of_object(value)


def _encodable(text: str) -> str:
    """A text that has a place in UTF-8: lone surrogates have none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
