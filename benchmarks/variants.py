"""What is compared: each in an environment of its own, set up as its own documentation says."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PLAIN_APP = "benchmarks.searchapp:app"
# The application and otel-search, as a user has them.
ENVIRONMENT = ".venv-otel-search"


@dataclass(frozen=True)
class Variant:
    """One way of observing the application.

    Attributes:
        environment: The environment's directory in the checkout; by default that of otel-search alone, or, where
            that has not been made, this Python's, whose further packages cost time at the start.
        app: The application to serve, set up in its module unless a launcher does it.
        launched: Whether `opentelemetry-instrument` stands before the command.
        variables: What its documentation says to set.
        traces: Whether it records spans or what it calls so.
    """

    environment: str = ""
    app: str = PLAIN_APP
    launched: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    traces: bool = True

    @property
    def binaries(self) -> Path:
        """Where its Python is."""
        if self.environment or (PROJECT / ENVIRONMENT / "installed").exists():
            return PROJECT / (self.environment or ENVIRONMENT) / "bin"
        return Path(sys.executable).parent

    @property
    def exists(self) -> bool:
        """Whether its environment has been made."""
        return (self.binaries / "python").exists() and (
            not self.environment or (PROJECT / self.environment / "installed").exists()
        )

    def command(self, *module_and_arguments: str) -> list[str]:
        """`python -m` with these arguments, under the launcher if the variant has one."""
        command = [str(self.binaries / "python"), "-m", *module_and_arguments]
        return [str(self.binaries / "opentelemetry-instrument"), *command] if self.launched else command


# Upstream's documentation sets the protocol and switches logs on by these; the stable names are ours, too.
_OTLP = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
}
_OURS = {"OTEL_PYTHON_DISTRO": "otel_search"}

BARE, PLAIN, UPSTREAM, ELASTIC_APM = "bare", "plain JSON logging", "upstream", "elastic-apm"
OURS, UNSAMPLED = "otel-search", "otel-search, unsampled"

VARIANTS: dict[str, Variant] = {
    BARE: Variant(variables={"BENCH_LOGGING": "off"}, traces=False),
    PLAIN: Variant(traces=False),
    UPSTREAM: Variant(".venv-upstream", launched=True, variables=_OTLP),
    "EDOT": Variant(".venv-edot", launched=True, variables=_OTLP),
    "logfire": Variant(".venv-logfire", app="benchmarks.setups.with_logfire:app"),
    ELASTIC_APM: Variant(".venv-elastic-apm", app="benchmarks.setups.with_elastic_apm:app"),
    "instrumentator": Variant(".venv-instrumentator", app="benchmarks.setups.with_instrumentator:app", traces=False),
    "first sketch": Variant(app="benchmarks.sketch:app"),
    OURS: Variant(launched=True, variables=_OURS),
    UNSAMPLED: Variant(launched=True, variables={**_OURS, "OTEL_TRACES_SAMPLER": "always_off"}),
}


def chosen(names: Iterable[str] | None = None) -> list[str]:
    """The variants that are asked for (by default all) and whose environments exist; says which do not."""
    asked = list(names or VARIANTS)
    if unknown := [name for name in asked if name not in VARIANTS]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are: {', '.join(VARIANTS)}")
    for name in asked:
        if not VARIANTS[name].exists:
            print(f"NOTICE: {name} is left out: {VARIANTS[name].environment} is missing; `make bench` makes it")
    return [name for name in asked if VARIANTS[name].exists]
