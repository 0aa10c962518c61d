"""Effective settings, each with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from otel_search import settings
from otel_search.doctor.case import Case

REDACTED = "[redacted]"

# What the configuration file decides on, if there is one: the variables are then not looked at.
_BY_FILE = ("OTEL_EXPORTER_", "OTEL_TRACES_", "OTEL_METRICS_", "OTEL_LOGS_", "OTEL_BSP_", "OTEL_BLRP_", "OTEL_METRIC_")


@dataclass(frozen=True)
class Effective:
    """One setting.

    Attributes:
        variable: Its variable.
        value: As it counts, secrets hidden.
        origin: `environment`, `default`, or `file` if a configuration file decides in its place.
    """

    variable: str
    value: str
    origin: str


def effective(case: Case) -> Iterator[Effective]:
    """All settings of ours, and all OpenTelemetry variables that have a value."""
    ours = {row.variable: row for row in settings.rows()}
    values = {row.variable: getattr(case.settings, row.name) for row in ours.values()}
    for variable, row in ours.items():
        is_set = bool(case.variables.get(variable, "").strip()) and values[variable] != row.default
        text = case.variables[variable].strip() if is_set else row.default_words
        yield _effective(case, variable, "" if text == "no value" else text, "environment" if is_set else "default")
    for variable in sorted({*settings.DEFAULTS, *case.variables} - set(ours)):
        if not variable.startswith(("OTEL_", "FASTAPI_OTEL_")) or variable.startswith(settings.PREFIX):
            continue
        text = case.effective.get(variable, "").strip()
        if text:
            origin = "environment" if case.variables.get(variable, "").strip() == text else "default"
            by_file = bool(case.settings.config_file) and variable.startswith(_BY_FILE)
            yield _effective(case, variable, text, "file" if by_file else origin)


def _effective(case: Case, variable: str, text: str, origin: str) -> Effective:
    pair = f"{variable}=x"
    if text and origin == "environment" and case.redactor.text(pair) != pair:
        text = REDACTED
    elif variable.endswith("HEADERS") and ("=" in text or variable.startswith("OTEL_EXPORTER_")):
        # Whatever a header is called, it is there to say who sends.
        text = ",".join(f"{name}={REDACTED}" if equals else REDACTED for name, equals, _ in _pairs(text))
    return Effective(variable, case.redactor.text(text), origin)


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    return (pair.partition("=") for pair in text.split(",") if pair)
