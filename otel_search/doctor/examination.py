"""The examination of a case, and what it has come to."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_search import __version__
from otel_search.doctor import checks as _checks  # noqa: F401 - they register themselves
from otel_search.doctor.application import observe
from otel_search.doctor.case import Case
from otel_search.doctor.exporters import SIGNALS, chosen
from otel_search.doctor.finding import CHECKS, Finding, Severity
from otel_search.doctor.origins import effective

_REPLACED = {"fastapi": "otel_search_fastapi", "elasticsearch": "otel_search_elasticsearch"}
_CHAIN = ("structlog", "logging")
_SHOWN = ("fastapi", "starlette", "elasticsearch", "elastic-transport", "structlog", "uvicorn", "gunicorn")


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        case: The case.
        findings: In the order of the checks.
    """

    case: Case
    findings: Sequence[Finding]

    @property
    def status(self) -> int:
        """For the shell: 1 if anything is wrong, 0 if there are notes at most."""
        return int(any(finding.severity is not Severity.NOTE for finding in self.findings))

    def facts(self) -> dict[str, Any]:
        """All of it, as for JSON."""
        return {
            "otel-search": __version__,
            "python": f"{platform.python_version()} ({sys.executable})",
            "command": [self.case.redactor.text(word) for word in self.case.command],
            "in_charge": in_charge(self.case),
            "packages": packages(self.case),
            "instrumentations": instrumentations(self.case),
            "settings": [dataclasses.asdict(each) for each in effective(self.case)],
            "exporters": exporters(self.case),
            "application": application(self.case),
            "findings": [dataclasses.asdict(each) for each in self.findings],
            "status": self.status,
        }


def examine(
    environ: Mapping[str, str],
    command: Sequence[str] = (),
    *,
    ignored: Container[str] = (),
    path: str = "/",
    timeout: float = 30.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Examination:
    """Examine an environment, and an application if there is a command.

    Args:
        environ: The environment that the application gets.
        command: The application's command, without the launcher.
        ignored: Names of checks that do not look.
        path: What to ask the application for.
        timeout: Seconds in which it has to serve, and then to answer.
        progress: Told what is being done.
    """
    case = Case(environ, command)
    if not case.is_silent:
        progress("asking the endpoints")
        case.probes  # noqa: B018 - asked now, and known from here on
    if command and case.launcher is not None:
        # Where the variables do not decide on exporters, there is none to stand in the place of.
        by_variables = {} if case.is_silent else case.effective
        case.application = observe(
            command, environ, by_variables, case.launcher, path=path, timeout=timeout, progress=progress
        )
    progress("")
    looking = [check for check in CHECKS.values() if check.name not in ignored]
    return Examination(case, [finding for check in looking for finding in check.findings(case)])


def in_charge(case: Case) -> dict[str, str]:
    """The launcher, the distribution and the configurator that it takes."""
    found = {"launcher": str(case.launcher or "none")}
    distro = _first(case, "opentelemetry_distro", case.variables.get("OTEL_PYTHON_DISTRO"))
    asked = case.variables.get("OTEL_PYTHON_CONFIGURATOR")
    # Our distribution asks for our configurator; without it the launcher takes the first.
    by_ours = "otel_search" if distro.startswith("otel_search ") else None
    return {
        **found,
        "distribution": distro,
        "configurator": _first(case, "opentelemetry_configurator", by_ours if asked is None else asked),
    }


def _first(case: Case, group: str, asked: str | None) -> str:
    found = next((entry for entry in case.entry_points(group) if asked in (None, entry.name)), None)
    return "none" if found is None else f"{found.name} ({found.value})"


def packages(case: Case) -> dict[str, str]:
    """The versions that matter."""
    return {
        name: version
        for name, version in sorted(case.versions.items())
        if name.startswith(("opentelemetry-", "otel-search")) or name in _SHOWN
    }


def instrumentations(case: Case) -> list[dict[str, str]]:
    """Each instrumentor that is installed, with what becomes of it."""
    disabled = [word.strip() for word in case.variables.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")]
    ours = in_charge(case)["distribution"].startswith("otel_search ")
    found = []
    for entry in sorted(case.entry_points("opentelemetry_instrumentor"), key=lambda entry: entry.name):
        dist = entry.dist
        by = "" if dist is None else f"{dist.metadata['Name']} {dist.version}"
        found.append({"name": entry.name, "of": by, "state": _state(case, entry.name, disabled, ours=ours)})
    return found


def _state(case: Case, name: str, disabled: Sequence[str], *, ours: bool) -> str:
    if case.settings.sdk_disabled:
        return "off: OTEL_SDK_DISABLED"
    upstream = next((theirs for theirs, own in _REPLACED.items() if own == name), name)
    if {"*", name, upstream} & set(disabled):
        return "off: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    if not ours:
        return "stands back: another distribution is in charge" if name in _REPLACED.values() else "active"
    if name in _REPLACED:
        return f"{_REPLACED[name]} stands in its place"
    if name in _CHAIN:
        return "otel-search's own log chain stands in its place"
    if name == "otel_search_fastapi":
        return f"active: {_fastapi_source(case)}"
    if name == "otel_search_elasticsearch":
        return f"active: {_elasticsearch_source(case)}"
    return "active"


def _fastapi_source(case: Case) -> str:
    version = case.versions.get("fastapi", "")
    native = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) >= (0, 142)
    chosen_source = case.settings.fastapi
    if chosen_source == "auto":
        chosen_source = "native" if native else "contrib"
    return f"{chosen_source}, FastAPI {version}"


def _elasticsearch_source(case: Case) -> str:
    version = case.versions.get("elasticsearch")
    if version is None:
        return "no client is installed"
    native = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) >= (8, 13)
    return f"{'native' if native else 'ours'}, elasticsearch {version}"


def exporters(case: Case) -> list[dict[str, str]]:
    """Where each signal goes, and whether it gets there."""
    if case.is_silent:
        return []
    found = []
    outcomes = {target.signal: (target, outcome) for target, outcome in case.probes}
    for signal in SIGNALS:
        names = ",".join(chosen(case.effective, signal)) or "none"
        row = {"signal": signal, "exporter": names, "endpoint": "", "problem": "", "answer": ""}
        if signal in outcomes:
            target, outcome = outcomes[signal]
            row |= {
                "exporter": f"{names} ({target.protocol})",
                "endpoint": case.redactor.text(target.url),
                "problem": outcome.problem,
                "answer": case.redactor.text(outcome.detail),
            }
        found.append(row)
    return found


def application(case: Case) -> dict[str, Any] | None:
    """What was seen of the application."""
    seen = case.application
    if seen is None:
        return None
    return {
        "failed": seen.failed,
        "detail": case.redactor.text(seen.detail),
        "url": seen.url,
        "status": seen.status,
        "trace_id": seen.trace_id or next((span.trace_id for span in seen.server_spans), ""),
        "spans": [span.name for span in seen.spans],
        "log_records": len(seen.logs),
        "metrics": sorted({point.name for point in seen.metrics}),
        "processes": [
            {
                "pid": process.pid,
                "distribution": process.distro,
                "providers": dict(process.providers),
                "sampler": process.sampler,
                "instrumented": list(process.instrumented),
                "applications": [dataclasses.asdict(app) for app in process.apps],
            }
            for process in seen.processes
        ],
    }
