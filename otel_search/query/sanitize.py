"""An Elasticsearch request body without its values: `db.query.text`.

Structure, clause names and field names stay; every value becomes `?`. The walk stops when its
output is long enough, so that its cost is bounded by the output and not by the input.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from otel_search.query.grammar import BODY, LANGUAGE, NAMED, OPAQUE, PARAMETERS, QUERY, SQL, VALUE, Position
from otel_search.query.language import mask_literals

MAX_LENGTH = 2048
"""Characters of a query text."""

MASK = '"?"'
CUT = '"…"'
"""Stands where something was left out; as a key in objects, as an item in arrays."""

_MAX_DEPTH = 48
_MAX_KEY = 128
# Longer arrays of values are looked at no further: a vector has thousands of numbers.
_PEEK = 16

_FIELD_NAME = re.compile(r"@?(?:[^\W\d]|\*)[\w.*\-]{0,127}(?:\^[0-9.]{1,6}|:asc|:desc)?")
_SCALARS = frozenset({str, int, float, bool, type(None), bytes})


def sanitize(body: Any, position: Position = BODY, limit: int = MAX_LENGTH) -> tuple[str, int]:
    """The text of a request body with every value replaced.

    Args:
        body: A decoded JSON value, or an object of `elasticsearch.dsl`.
        position: What `body` is by the grammar.
        limit: Characters that the text may have.

    Returns:
        Valid JSON of at most `limit` characters, and how deep queries are nested within queries.
    """
    if type(body) is dict:
        counts = [limit // 8, 0]
        try:
            text = _ordinary(body, position, 0, 0, counts)
        except _NotOrdinaryError:
            pass
        else:
            if len(text) <= limit:
                return text, counts[1]
    writer = _Writer(limit)
    writer.write(body, position, 0, 0)
    return "".join(writer.parts), writer.nesting


class _NotOrdinaryError(Exception):
    """The body is too large, too deep or made of something else than plain JSON: it needs the careful way."""


def _ordinary(node: dict[Any, Any], position: Position, depth: int, nesting: int, counts: list[int]) -> str:
    """The quick way for ordinary bodies: no budget of characters, only one of members.

    Args:
        node: An object of the body.
        position: What it is by the grammar.
        depth: How many objects it is in.
        nesting: How many queries it is in.
        counts: How many members are still allowed, and the deepest nesting seen.
    """
    counts[0] -= len(node)
    if counts[0] < 0 or depth > _MAX_DEPTH:
        raise _NotOrdinaryError
    parts = []
    if not position:
        for key, value in node.items():
            kind = type(value)
            if type(key) is not str:
                raise _NotOrdinaryError
            if kind in _SCALARS:
                parts.append(_key(key) + (MASK if position is VALUE else _text(value, position)))
            elif kind is dict:
                beneath = PARAMETERS if key == "params" else VALUE
                parts.append(_key(key) + _ordinary(value, beneath, depth + 1, nesting, counts))
            elif kind is list:
                parts.append(_key(key) + _ordinary_list(value, VALUE, depth + 1, nesting, counts))
            else:
                raise _NotOrdinaryError
        return f"{{{','.join(parts)}}}"
    other = position.get("*", VALUE)
    for key, value in node.items():
        kind = type(value)
        if type(key) is not str:
            raise _NotOrdinaryError
        beneath = position.get(key, other)
        if kind in _SCALARS:
            parts.append(_key(key) + (MASK if beneath is VALUE else _text(value, beneath)))
            continue
        if beneath is OPAQUE:
            parts.append(_key(key) + _opaque(value))
            continue
        inner = nesting
        if beneath is QUERY:
            inner += 1
            counts[1] = max(counts[1], inner)
        if kind is dict:
            parts.append(_key(key) + _ordinary(value, beneath, depth + 1, inner, counts))
        elif kind is list:
            parts.append(_key(key) + _ordinary_list(value, beneath, depth + 1, inner, counts))
        else:
            raise _NotOrdinaryError
    return f"{{{','.join(parts)}}}"


def _ordinary_list(node: list[Any], position: Position, depth: int, nesting: int, counts: list[int]) -> str:
    if not node:
        return "[]"
    named = id(position) in NAMED
    first = type(node[0])
    if first in _SCALARS and not named:
        if all(type(item) in _SCALARS for item in islice(node, _PEEK)):
            return "[" + MASK + "]"
        raise _NotOrdinaryError
    if first is list and position is VALUE:
        # Coordinates: however many there are, as with values.
        if depth < _MAX_DEPTH and all(type(item) is list for item in islice(node, _PEEK)):
            return "[" + _ordinary_list(node[0], VALUE, depth + 1, nesting, counts) + "]"
        raise _NotOrdinaryError
    counts[0] -= len(node)
    if counts[0] < 0:
        raise _NotOrdinaryError
    parts = []
    for item in node:
        kind = type(item)
        if kind is dict:
            parts.append(_ordinary(item, position, depth + 1, nesting, counts))
        elif kind in _SCALARS:
            parts.append(_text(item, position))
        else:
            raise _NotOrdinaryError
    return "[" + ",".join(parts) + "]"


def _text(value: Any, position: Position) -> str:
    """A scalar as JSON: a field name where the grammar has one, else the mask."""
    if type(value) is not str:
        return MASK
    if id(position) in NAMED:
        return _name(value)
    if position is LANGUAGE or position is SQL:
        if len(value) > MAX_LENGTH:
            raise _NotOrdinaryError
        return json.dumps(mask_literals(value, sql=position is SQL), ensure_ascii=False)
    return MASK


@functools.lru_cache(maxsize=2048)
def _name(text: str) -> str:
    return f'"{text}"' if _FIELD_NAME.fullmatch(text) else MASK


def _opaque(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{MASK}]" if value else "[]"
    return MASK


class _Writer:
    """Writes JSON within a budget of characters; it closes what it opened whatever happens."""

    __slots__ = ("left", "nesting", "parts")

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self.left = limit - 8
        self.nesting = 0

    def write(self, node: Any, position: Position, depth: int, nesting: int) -> None:
        kind = type(node)
        if position is OPAQUE:
            self._put(_opaque(node))
        elif kind is dict:
            self._object(node, position, depth, nesting)
        elif kind is list or kind is tuple:
            self._array(node, position, depth, nesting)
        elif kind in _SCALARS:
            self._put(self._scalar(node, position))
        elif isinstance(node, Mapping):
            self._object(node, position, depth, nesting)
        elif _is_dsl(kind):
            self.write(node.to_dict(), position, depth, nesting)
        elif isinstance(node, Sequence) and not isinstance(node, str | bytes | bytearray | memoryview):
            self._array(node, position, depth, nesting)
        else:
            # Numbers and dates of other libraries, iterators: a value, not to be touched.
            self._put(MASK)

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self.left -= len(text)

    def _scalar(self, node: Any, position: Position) -> str:
        if id(position) in NAMED and type(node) is str:
            return _name(node)
        if (position is LANGUAGE or position is SQL) and type(node) is str:
            # Twice the budget: masking shortens the text, and what is too long is cut afterwards.
            text = json.dumps(mask_literals(node[: 2 * self.left], sql=position is SQL), ensure_ascii=False)
            return text if len(text) <= self.left else _cut_text(text, self.left)
        return MASK

    def _object(self, node: Mapping[Any, Any], position: Position, depth: int, nesting: int) -> None:
        # Brackets and the marker are paid for when they are opened, so that closing always fits.
        self.left -= 10
        self.parts.append("{")
        if depth >= _MAX_DEPTH and node:
            self.parts.append(f"{CUT}:{CUT}")
        elif node:
            full = True
            other = position.get("*", VALUE)
            first = True
            for key, value in node.items():
                text = _key(key) if type(key) is str else _key(str(key))
                if self.left < len(text) + 4:
                    self.parts.append(f"{CUT}:{CUT}" if first else f",{CUT}:{CUT}")
                    full = False
                    break
                self._put(text if first else "," + text)
                first = False
                beneath = position.get(key, other) if position else PARAMETERS if key == "params" else VALUE
                if beneath is QUERY:
                    self.nesting = max(self.nesting, nesting + 1)
                    self.write(value, beneath, depth + 1, nesting + 1)
                else:
                    self.write(value, beneath, depth + 1, nesting)
            if full:
                self.left += 8
        self.parts.append("}")

    def _array(self, node: Sequence[Any], position: Position, depth: int, nesting: int) -> None:
        self.left -= 6
        self.parts.append("[")
        named = id(position) in NAMED
        if not named and all(type(item) in _SCALARS for item in islice(node, _PEEK)):
            # However many values there are: the shape of the query is the same.
            if node:
                self._put(MASK)
        elif depth >= _MAX_DEPTH:
            self.parts.append(CUT)
        elif position is VALUE and all(type(item) is list for item in islice(node, _PEEK)):
            self.write(node[0], VALUE, depth + 1, nesting)
        else:
            for number, item in enumerate(node):
                if self.left < 8:
                    self.parts.append(f",{CUT}" if number else CUT)
                    break
                if number:
                    self._put(",")
                self.write(item, position, depth + 1, nesting)
        self.parts.append("]")


@functools.lru_cache(maxsize=2048)
def _key(key: str) -> str:
    text = key if len(key) <= _MAX_KEY else key[:_MAX_KEY] + "…"
    return json.dumps(text, ensure_ascii=False) + ":"


def _cut_text(text: str, room: int) -> str:
    """A JSON string cut to `room` characters, between its escape sequences."""
    if room < len(CUT):
        return CUT
    kept = text[: room - 2]
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return kept[: len(kept) - backslashes % 2] + '…"'


def _is_dsl(kind: type) -> bool:
    # `elasticsearch.dsl` and the older `elasticsearch_dsl`: the serializer calls `to_dict` too.
    return hasattr(kind, "to_dict") and kind.__module__.partition(".")[0] in {"elasticsearch", "elasticsearch_dsl"}
