"""Which distribution and which configurator the launcher takes."""

from __future__ import annotations

from collections.abc import Iterator

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check

NAME = "otel_search"


@check(
    "distro-unknown",
    Severity.ERROR,
    "`OTEL_PYTHON_DISTRO` names no installed distribution",
    "set OTEL_PYTHON_DISTRO=otel_search, or unset it",
)
def distro_unknown(case: Case) -> Iterator[str]:
    """Nobody is in charge."""
    asked = case.variables.get("OTEL_PYTHON_DISTRO")
    names = [entry.name for entry in case.entry_points("opentelemetry_distro")]
    if asked is not None and asked not in names:
        yield f"OTEL_PYTHON_DISTRO={asked!r} is not installed; there are {', '.join(names)}"


@check(
    "other-distro",
    Severity.ERROR,
    "Another distribution is in charge",
    "set OTEL_PYTHON_DISTRO=otel_search",
)
def other_distro(case: Case) -> Iterator[str]:
    """Another one is asked for, or found first."""
    asked = case.variables.get("OTEL_PYTHON_DISTRO")
    entries = case.entry_points("opentelemetry_distro")
    chosen = next((entry for entry in entries if asked in (None, entry.name)), None)
    if chosen is not None and chosen.name != NAME:
        how = f"OTEL_PYTHON_DISTRO={asked} asks for it" if asked else "it is found first"
        yield f"the distribution {chosen.name} ({chosen.value}) is in charge: {how}"


@check(
    "other-configurator",
    Severity.ERROR,
    "Another configurator sets up the SDK",
    "unset OTEL_PYTHON_CONFIGURATOR, or set it to otel_search",
)
def other_configurator(case: Case) -> Iterator[str]:
    """The variable wins over the distribution, whose choice is only a default."""
    asked = case.variables.get("OTEL_PYTHON_CONFIGURATOR")
    if asked is not None and asked != NAME:
        there = asked in [entry.name for entry in case.entry_points("opentelemetry_configurator")]
        yield f"OTEL_PYTHON_CONFIGURATOR={asked!r} " + ("sets up the SDK" if there else "is not installed")
