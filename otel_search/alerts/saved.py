"""What one process leaves for the next one, and what is checked of it before it counts.

A file that cannot be used is never left out silently: it raises `UnreadableError`, whoever reads it
says so in one line, and alerts begin anew.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import orjson


class UnreadableError(ValueError):
    """What was left cannot be used; the message says why."""


class State:
    """A file with what the next evaluator of this service needs, be it after a restart."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def part(self, name: str) -> State:
        """A part that is written by itself, in a file beside; without a name it is the state itself."""
        return self if not name or self.path is None else State(self.path.with_name(f"{self.path.name}.{name}"))

    def read(self, **expected: Any) -> dict[str, Any]:
        """What was left; nothing, if nothing was.

        Args:
            **expected: What must be in it.

        Raises:
            UnreadableError: There is a file, and it cannot be read or is not the one that is meant.
        """
        if self.path is None:
            return {}
        try:
            found = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error
        except ValueError as error:
            raise UnreadableError(f"it is no JSON: {error}") from error
        left = mapping("it", found)
        others = [f"{name} {left.get(name)!r}" for name, value in expected.items() if left.get(name) != value]
        if others:
            raise UnreadableError(f"it is of another {' and '.join(others)[:200]}")
        return left

    def write(self, state: Mapping[str, Any]) -> None:
        """Leave this, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        if self.path is None:
            return
        fresh = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(state, option=orjson.OPT_NON_STR_KEYS))
        fresh.replace(self.path)


def mapping(what: str, state: Any) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        UnreadableError: It is none.
    """
    if not isinstance(state, dict):
        raise UnreadableError(f"{what} is {type(state).__name__}, not an object")
    return state


def listing(what: str, state: Any) -> list[Any]:
    """An array of JSON.

    Raises:
        UnreadableError: It is none.
    """
    if not isinstance(state, list):
        raise UnreadableError(f"{what} is {type(state).__name__}, not an array")
    return state


def restored(example: Any, state: Any) -> dict[str, Any]:
    """The fields of a dataclass, as they were before they were JSON.

    Args:
        example: An instance of it, whose values say of what type each field is.
        state: What `dataclasses.asdict` and JSON have made of one.

    Raises:
        UnreadableError: A field is missing, of another type or not known.
    """
    what = type(example).__name__.lower()
    left = mapping(f"an {what}", state)
    types = {each.name: type(getattr(example, each.name)) for each in fields(example)}
    needed = {each.name for each in fields(example) if each.default is MISSING}
    odd = (needed - left.keys()) | (left.keys() - types.keys())
    if odd:
        raise UnreadableError(f"an {what} has other fields: {', '.join(sorted(odd))[:200]}")
    return {name: _of_type(types[name], value, f"{name} of an {what}") for name, value in left.items()}


def _of_type(wanted: type, value: Any, what: str) -> Any:
    if wanted is float and value is None:
        return math.nan  # JSON has neither this nor infinity
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is tuple and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if isinstance(value, dict) and not all(isinstance(each, str) for each in value.values()):
        raise UnreadableError(f"{what} has other values than texts")
    if type(value) is not wanted:  # not `isinstance`, for which `True` is a number
        raise UnreadableError(f"{what} is {str(value)[:100]!r}, and no {wanted.__name__}")
    return value
