"""What is examined: an environment, what is installed, where telemetry goes, and an application if there is one."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from otel_search.doctor.exporters import Probe, Target, probe, targets
from otel_search.doctor.observed import Observed
from otel_search.doctor.reach import Answer, Tls, ask
from otel_search.redaction import Redactor, redactor_of
from otel_search.settings import DEFAULTS, Settings
from otel_search.telemetry.standard_variables import correct


@dataclass
class Case:
    """One case.

    Attributes:
        variables: The environment, as the application would get it.
        command: The application's command, if there is one.
        application: What was seen of it, if it was started.
    """

    variables: Mapping[str, str]
    command: Sequence[str] = ()
    application: Observed | None = None
    _answers: dict[str, Answer] = field(default_factory=dict)

    @functools.cached_property
    def settings(self) -> Settings:
        """Our settings."""
        return Settings.read(self.variables)

    @functools.cached_property
    def redactor(self) -> Redactor:
        """Hides secrets in what is shown."""
        return redactor_of(self.settings)

    @functools.cached_property
    def corrected(self) -> tuple[Mapping[str, str], list[str]]:
        """The environment as the SDK gets to see it, and a line for each value that it cannot use."""
        environ = dict(self.variables)
        faults = correct(environ)
        for variable, value in DEFAULTS.items():
            if not environ.get(variable, "").strip():
                environ[variable] = value
        return environ, faults

    @property
    def effective(self) -> Mapping[str, str]:
        """The environment with our defaults, without what cannot be used."""
        return self.corrected[0]

    @functools.cached_property
    def versions(self) -> dict[str, str]:
        """The installed distributions by name."""
        found: dict[str, str] = {}
        for each in metadata.distributions():
            found.setdefault(each.metadata["Name"].lower().replace("_", "-"), each.version)
        return found

    def entry_points(self, group: str) -> list[metadata.EntryPoint]:
        """The entry points of a group, in the order in which the launcher finds them."""
        return list(metadata.entry_points(group=group))

    @functools.cached_property
    def launcher(self) -> Path | None:
        """The launcher that is beside this Python, or else on PATH."""
        beside = Path(sys.executable).with_name("opentelemetry-instrument")
        found = (
            str(beside)
            if beside.exists()
            else shutil.which("opentelemetry-instrument", path=self.variables.get("PATH"))
        )
        return None if found is None else Path(found)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is exported by intention, so that no endpoint matters."""
        return self.settings.sdk_disabled or bool(self.settings.config_file)

    @functools.cached_property
    def probes(self) -> list[tuple[Target, Probe]]:
        """Each OTLP endpoint with what came of an empty batch."""
        if self.is_silent:
            return []
        found = targets(self.effective)
        with ThreadPoolExecutor(max_workers=3) as pool:
            return list(zip(found, pool.map(probe, found), strict=True))

    def problems(self, *kinds: str) -> Iterable[str]:
        """What is wrong with OTLP endpoints, one line for all signals that share it."""
        lines: dict[str, list[str]] = {}
        for target, outcome in self.probes:
            if outcome.problem in kinds:
                where = self.redactor.text(_base(target))
                detail = self.redactor.text(outcome.detail)
                lines.setdefault(f"go to {where}{_origin(target)}: {detail}", []).append(target.signal)
        return [f"{', '.join(signals)} {line}" for line, signals in lines.items()]

    def asked(self, url: str, headers: Mapping[str, str] | None = None, tls: Tls | None = None) -> Answer:
        """The answer to a GET request, asked once."""
        if url not in self._answers:
            self._answers[url] = ask(url, headers=headers, tls=tls)
        return self._answers[url]

    def answers(self) -> list[tuple[str, Answer]]:
        """All HTTP answers so far, with their URLs."""
        return [(target.url, outcome.answer) for target, outcome in self.probes] + list(self._answers.items())


def _base(target: Target) -> str:
    """The URL without the path that the exporter adds, so that signals with one endpoint share a line."""
    if target.variable in ("", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        return target.url.removesuffix(f"/v1/{target.signal}")
    return target.url


def _origin(target: Target) -> str:
    return f" ({target.variable})" if target.variable else " (the default)"
