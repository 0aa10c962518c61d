"""Checks and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_search.doctor.case import Case


class Severity(StrEnum):
    """How much a finding explains."""

    ERROR = "error"
    """Telemetry is missing because of it."""
    WARNING = "warning"
    """Some of it is missing or doubled, or will be."""
    NOTE = "note"
    """Worth knowing; not a finding for the exit status."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: The name of the check.
        severity: How much it explains.
        what: What is so, in one line.
        do: What to do, in one line.
    """

    check: str
    severity: Severity
    what: str
    do: str


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong.

    Attributes:
        name: In kebab case; it is stable, for those who read `--json`.
        severity: Of its findings.
        title: What is wrong when it finds something.
        do: What to do.
        look: What is so in a case: one line each, none if nothing is wrong.
    """

    name: str
    severity: Severity
    title: str
    do: str
    look: Callable[[Case], Iterable[str]]

    def findings(self, case: Case) -> list[Finding]:
        """What it finds in a case."""
        return [Finding(self.name, self.severity, what, self.do) for what in self.look(case)]


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they look: causes come before what follows from them."""

Look = Callable[["Case"], Iterable[str]]


def check(name: str, severity: Severity, title: str, do: str) -> Callable[[Look], Look]:
    """Make a function a check; the arguments are those of `Check`."""

    def register(look: Look) -> Look:
        assert name not in CHECKS, name
        CHECKS[name] = Check(name, severity, title, do, look)
        return look

    return register


def table() -> str:
    """All checks as a Markdown table; the one in docs/doctor.md is generated from it."""
    lines = ["| finding | | what is so | what to do |", "| --- | --- | --- | --- |"]
    lines += [f"| `{each.name}` | {each.severity} | {each.title} | {each.do} |" for each in CHECKS.values()]
    return "\n".join(lines)
