"""Hides secrets in names' values, texts and query strings."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from otel_search.redaction import counting, pairs
from otel_search.redaction.counting import MARKER, marker
from otel_search.redaction.guards import Guards
from otel_search.redaction.names import Names, decoded
from otel_search.redaction.shapes import hiding, own
from otel_search.redaction.table import SHAPES

Mode = Literal["secrets", "pii", "off"]
Hide = Callable[[str], str]

SHORT = 96
"""Characters up to which a text is remembered: routes, methods, addresses, events come again and again."""

_MOST_PASSES = 4


class Redactor:
    """Hides what the table says, and what the user adds to it.

    Args:
        keys: More names, in any case, with `-` or `_` between words.
        keep: Names that are no secrets, though the table or an ending says so.
        patterns: More secrets by their looks: what to call them, and their patterns.
        mode: `pii` hides personal data, too; `off` hides nothing.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        keep: Iterable[str] = (),
        patterns: Iterable[tuple[str, re.Pattern[str]]] = (),
        mode: Mode = "secrets",
    ) -> None:
        personal = mode == "pii"
        shapes = [shape for shape in SHAPES if personal or not shape.personal]
        self._is_off = mode == "off"
        self._names = Names(keys, keep, personal=personal)
        self.field: Callable[[str], str | None] = _nothing if self._is_off else self._names.field
        """What kind of secret a log field, attribute or header of this name has for its value, or `None`."""
        self.many: Callable[[str], str | None] = _nothing if self._is_off else self._names.many
        """What kind of secrets a list or mapping of this name holds, or `None`."""
        self._shapes: list[tuple[tuple[str, ...], bool, Hide]] = [
            (shape.guards, shape.any_case, hiding(shape)) for shape in shapes
        ]
        self._own = [own(kind, pattern) for kind, pattern in patterns]
        self._guards = Guards(word for shape in shapes if not shape.any_case for word in shape.guards)
        self._lower_guards = Guards(word for shape in shapes if shape.any_case for word in shape.guards)
        self._remembered = functools.lru_cache(maxsize=4096)(self._hidden)

    def kinds_in(self, values: Sequence[Any]) -> Sequence[str | None]:
        """What kinds of secrets the items of a list are by those before them.

        In a pair, as headers are held, the second item; on a command line, what follows `--password`.

        Returns:
            As many kinds as there are items, or none at all.
        """
        if len(values) == 2:
            name = values[0]
            name = name.decode("latin-1") if type(name) is bytes else name
            return (None, self.field(name)) if type(name) is str else ()
        kinds: list[str | None] = [None]
        kinds += [self.field(name[2:]) if type(name) is str and name[:2] == "--" else None for name in values[:-1]]
        return kinds if any(kinds) else ()

    def kind_of_value(self, values: Mapping[Any, Any]) -> str | None:
        """What kind of secret `{"name": "cookie", "value": …}` holds, as headers and variables of the environment are written."""
        if "value" not in values:
            return None
        name = values.get("name", values.get("key"))
        return self.field(name) if type(name) is str else None

    def hide(self, kind: str) -> str:
        """What stands in the place of a value that is hidden, and is counted."""
        counting.count(kind)
        return marker(kind)

    def count(self, before: str, after: str) -> None:
        """Count what `hidden` has taken out of a text."""
        counting.count_new(before, after)

    def text(self, text: str) -> str:
        """A message, URL or traceback without its secrets, which are counted."""
        hidden = self.hidden(text)
        if hidden != text:
            counting.count_new(text, hidden)
        return hidden

    def hidden(self, text: str) -> str:
        """As `text`, and nothing is counted: for those who keep the answer."""
        return self._remembered(text) if len(text) < SHORT else self._hidden(text)

    def _hidden(self, text: str) -> str:
        return text if self.is_harmless(text) else _settled(self._pass, text)

    def query_string(self, query: str) -> str:
        """A URL query without its secrets, which are counted; all else, order and encoding included, stays.

        A value that holds a secret of its own, such as an encoded URL with a token, is replaced as a whole.
        """
        if self.is_harmless(query):
            return query
        hidden = _settled(self._query, query)
        if hidden != query:
            counting.count_new(query, hidden)
        return hidden

    def is_harmless(self, text: str) -> bool:
        """Whether there can be nothing to hide; nearly always this is all that is done."""
        if self._is_off:
            return True
        if self._own:
            return False
        if "%" in text and (plain := decoded(text)) != text:
            text = plain
        lower = text.lower()
        return not (
            self._names.can_be_in(lower)
            or self._guards.may_be_in(text)
            or self._lower_guards.may_be_in(lower)
            or any(_LONG_NUMBER.search(digits[0]) for digits in _DIGITS.finditer(text))
        )

    def _pass(self, text: str, *, look_inside: bool = True) -> str:
        lower = text.lower()
        if "%" in text or self._names.can_be_in(lower):
            if "=" in text:
                inside = self._kind_inside if look_inside and "%" in text else None
                text = pairs.assigned(text, self._names, inside)
            if '"' in text or "'" in text:
                text = pairs.quoted(text, self._names)
            if ":" in text:
                text = pairs.headers(text, self._names)
            if "--" in text:
                text = pairs.options(text, self._names)
        for guards, any_case, hide in self._shapes:
            where = lower if any_case else text
            if not guards or any(guard in where for guard in guards):
                text = hide(text)
        for hide in self._own:
            text = hide(text)
        return text

    def _query(self, query: str) -> str:
        return "".join(
            self._parameter(part) if position % 2 == 0 else part
            for position, part in enumerate(_SEPARATOR.split(query))
        )

    def _parameter(self, part: str) -> str:
        name, equals, value = part.partition("=")
        kind = self._names.parameter(name) if equals and value else None
        if kind is not None:
            return part if MARKER.fullmatch(value) else f"{name}={marker(kind)}"
        kind = self._kind_inside(value if equals else part)
        if kind is None:
            return part
        return f"{name}={marker(kind)}" if equals else marker(kind)

    def _kind_inside(self, value: str) -> str | None:
        """What kind of secret a value holds that is percent-encoded, or may be."""
        if MARKER.fullmatch(value):
            return None
        plain = f"?{decoded(value.replace('+', ' '))}"
        # Encoded once more inside: not followed, or a hostile text would lead us on without end.
        hidden = self._pass(plain, look_inside=False)
        found = None if hidden == plain else MARKER.search(hidden)
        return found and found[1]


def _nothing(_: str) -> None:
    """The kind of secret of any name, where nothing is hidden."""


# Enough digits for a card, in groups or not; and where to look for them, which is sooner found.
_DIGITS = re.compile("[0-9][0-9 -]{12,}")
_LONG_NUMBER = re.compile("[0-9](?:[ -]?[0-9]){12}")
_SEPARATOR = re.compile("([&;#])")


def _settled(hide: Hide, text: str) -> str:
    """What `hide` makes of a text, until it finds nothing more in it."""
    for _ in range(_MOST_PASSES):
        hidden = hide(text)
        if hidden == text:
            break
        text = hidden
    return text


class Choice(Protocol):
    """The settings that a redactor is made of."""

    @property
    def redact(self) -> Mode:
        """See `Redactor`."""

    @property
    def redact_keys(self) -> tuple[str, ...]:
        """See `Redactor`."""

    @property
    def redact_keep(self) -> tuple[str, ...]:
        """See `Redactor`."""

    @property
    def redact_patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """See `Redactor`."""


def redactor_of(choice: Choice) -> Redactor:
    """The redactor of a process's settings: its rooms share one, with what it has learnt of names."""
    return _made(choice.redact, choice.redact_keys, choice.redact_keep, choice.redact_patterns)


@functools.cache
def _made(
    mode: Mode,
    keys: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    patterns: tuple[tuple[str, re.Pattern[str]], ...] = (),
) -> Redactor:
    return Redactor(keys, keep=keep, patterns=patterns, mode=mode)
