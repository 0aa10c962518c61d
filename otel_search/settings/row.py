"""One row of the settings table: how it is declared, read and shown.

A value that cannot be used becomes one line, a fault, naming the variable, the value and what is accepted; the
default is used in its place, because a typing mistake in a telemetry setting must not stop a service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_search.settings.accepts import Accepts, PartlyAcceptedError
from otel_search.settings.values import without_user_info

PREFIX = "OTEL_SEARCH_"


def setting(variable: str, accepts: Accepts, default: Any, description: str) -> Any:
    """A field of `Settings` that a variable sets.

    Args:
        variable: Its name.
        accepts: What it may be.
        default: What counts if it is not set.
        description: What it does, in Markdown, on as many lines as the source wants.
    """
    return field(
        default=default, metadata={"variable": variable, "accepts": accepts, "help": " ".join(description.split())}
    )


@dataclass(frozen=True)
class Row:
    """One row of the settings table."""

    name: str
    variable: str
    accepts: Accepts
    default: Any
    help: str

    @property
    def default_words(self) -> str:
        """The default as a user would write it."""
        if self.default is None or self.default in ((), ""):
            return "no value"
        if isinstance(self.default, tuple):
            return ",".join(word if isinstance(word, str) else f"{word:g}" for word in self.default)
        return str(self.default).lower() if isinstance(self.default, bool) else f"{self.default}"


def rows_of(declared: type) -> tuple[Row, ...]:
    """The settings among the fields of a dataclass, in their order."""
    return tuple(
        Row(entry.name, entry.metadata["variable"], entry.metadata["accepts"], entry.default, entry.metadata["help"])
        for entry in dataclasses.fields(declared)
        if "variable" in entry.metadata
    )


def read_rows(rows: Sequence[Row], environ: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What `environ` sets: values by the name of their row, and the faults.

    Args:
        rows: All settings.
        environ: Variables with their values; an empty one counts as unset.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for row in rows:
        text = environ.get(row.variable, "")
        if not text.strip():
            continue
        try:
            values[row.name] = row.accepts.parse(text)
        except PartlyAcceptedError as partly:
            values[row.name] = partly.value
            faults.append(
                f"{row.variable}: {partly} is not accepted, using the others; "
                f"accepted: {row.accepts.words.replace('`', '')}"
            )
        except ValueError:
            faults.append(
                f"{row.variable}={without_user_info(text)!r} is not accepted, using {row.default_words}; "
                f"accepted: {row.accepts.words.replace('`', '')}"
            )
    known = [row.variable for row in rows]
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            import difflib  # only a mistake needs it

            close = difflib.get_close_matches(variable, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            faults.append(f"{variable} is not a setting of otel-search{meant}")
    return values, tuple(faults)


def table_of(rows: Iterable[Row]) -> str:
    """The settings as a Markdown table."""
    lines = ["| variable | accepts | default | what it does |", "| --- | --- | --- | --- |"]
    for row in rows:
        accepts = row.accepts.words.replace("|", "\\|")
        lines.append(f"| `{row.variable}` | {accepts} | {row.default_words} | {row.help} |")
    return "\n".join(lines)
