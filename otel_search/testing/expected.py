"""What a test expects of attributes, and in what a span, record or point differs from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Name = str | re.Pattern[str]


def has_name(expected: Name, actual: Any) -> bool:
    """Whether a name is the expected one, or has the expected pattern in it."""
    return expected == actual if isinstance(expected, str) else expected.search(str(actual)) is not None


@dataclass(frozen=True)
class Expected:
    """Attributes with the values that they should have.

    Attributes:
        attributes: By full name.
        short: By the end of a name, with `_` for the dots: `took` is `search.took`, `status_code` is
            `http.response.status_code`.
    """

    attributes: Mapping[str, Any]
    short: Mapping[str, Any]

    def differences(self, actual: Mapping[str, Any]) -> list[str]:
        """In what `actual` differs: one line each, none if it is as expected."""
        found = []
        for name, value in self.attributes.items():
            found += _difference(name, [name] if name in actual else [], value, actual)
        for name, value in self.short.items():
            found += _difference(name, _names(name, actual), value, actual)
        return found

    def __str__(self) -> str:
        pairs = {**self.attributes, **self.short}
        return ", ".join(f"{name}={_words(value)}" for name, value in pairs.items())


def _names(short: str, actual: Mapping[str, Any]) -> list[str]:
    exact = [name for name in actual if _plain(name) == short]
    return exact or [name for name in actual if _plain(name).endswith(f"_{short}")]


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _difference(asked: str, names: list[str], expected: Any, actual: Mapping[str, Any]) -> list[str]:
    if expected is None:  # it should not be there
        return [f"{name} is {actual[name]!r}, expected none" for name in names]
    if not names:
        return [f"{asked} is not there, expected {_words(expected)}"]
    if len(names) > 1:
        return [f"{asked} may be {' or '.join(names)}: give the full name, in a dictionary"]
    value = actual[names[0]]
    return [] if _fits(value, expected) else [f"{names[0]} is {value!r}, expected {_words(expected)}"]


def _fits(value: Any, expected: Any) -> bool:
    if expected is ...:
        return True
    if isinstance(expected, re.Pattern):
        return expected.search(str(value)) is not None
    if callable(expected):
        return bool(expected(value))
    if isinstance(value, list) and isinstance(expected, tuple):
        expected = list(expected)
    return bool(value == expected)


def _words(expected: Any) -> str:
    if expected is ...:
        return "any value"
    if isinstance(expected, re.Pattern):
        return f"a match of {expected.pattern!r}"
    if callable(expected) and not isinstance(expected, type):
        return _condition(expected)
    return repr(expected)


def _condition(expected: Callable[..., Any]) -> str:
    return f"what {getattr(expected, '__name__', repr(expected))} accepts"
