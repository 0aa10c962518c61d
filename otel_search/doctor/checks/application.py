"""Whether the application starts, is reached by the launcher, and is instrumented once. With a command only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check

_LAUNCHER_FAILED = "Failed to auto initialize OpenTelemetry"


@check(
    "application-not-started",
    Severity.ERROR,
    "The application does not start, or does not answer",
    "start it without the launcher; if it fails there, too, telemetry is not the cause",
)
def application_not_started(case: Case) -> Iterator[str]:
    """With its last words."""
    seen = case.application
    if seen is not None and seen.failed:
        said = _last_words(seen.output)
        yield seen.detail + (f"; it said: {case.redactor.text(said)[:300]}" if said else "")


def _last_words(output: Sequence[str]) -> str:
    """The last exception that was written, be it as JSON or as text; else the last error, else the last line."""
    lines = [line.strip() for line in output if line.strip()]
    for failure in (_exception, _error):
        if found := next(filter(None, map(failure, reversed(lines))), ""):
            return found
    return lines[-1] if lines else ""


def _exception(line: str) -> str:
    fields = _fields(line)
    if fields.get("exception.type"):
        return f"{fields.get('event')}: {fields['exception.type']}: {fields.get('exception.message')}"
    return line if _is_exception(line) else ""


def _error(line: str) -> str:
    fields = _fields(line)
    return str(fields.get("event")) if fields.get("level") in ("error", "critical") else ""


def _fields(line: str) -> dict[str, Any]:
    """Of a line that is JSON."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            fields: dict[str, Any] = json.loads(line)
            return fields
    return {}


@check(
    "launcher-failed",
    Severity.ERROR,
    "The launcher could not set up telemetry, and the application runs without it",
    "see the exception; it is mostly a variable that cannot be used or packages that do not fit together",
)
def launcher_failed(case: Case) -> Iterator[str]:
    """Upstream's launcher says it on stderr and goes on."""
    seen = case.application
    if seen is None:
        return
    for number, line in enumerate(seen.output):
        if _LAUNCHER_FAILED in line:
            cause = next((text for text in seen.output[number:] if _is_exception(text)), "")
            yield f"{_LAUNCHER_FAILED}: {case.redactor.text(cause)[:300]}"
            return


def _is_exception(line: str) -> bool:
    name, colon, _ = line.partition(":")
    return bool(colon) and name.replace(".", "").isidentifier() and name.endswith(("Error", "Exception", "Conflict"))


@check(
    "not-launched",
    Severity.ERROR,
    "The application runs without the launcher's hook",
    "let the command run in the environment that has otel-search, and without python -I, -E or -S",
)
def not_launched(case: Case) -> Iterator[str]:
    """It answers, but the launcher has not reached it."""
    seen = case.application
    if seen is not None and not seen.failed and not seen.processes and not list(launcher_failed(case)):
        yield f"{' '.join(case.command)} answers, and no process of it was reached by opentelemetry-instrument"


@check(
    "not-set-up",
    Severity.ERROR,
    "The application runs, and otel-search has not set up its telemetry",
    "see which distribution and configurator are in charge",
)
def not_set_up(case: Case) -> Iterator[str]:
    """Another one is in charge of it."""
    seen = case.application
    if seen is None or case.settings.sdk_disabled:
        return
    for process in seen.processes:
        if not process.configured:
            yield f"in process {process.pid} the distribution {process.distro or 'none'} is in charge"
            return


@check(
    "own-providers",
    Severity.WARNING,
    "The application has set OpenTelemetry providers itself, and they are used as they are",
    "let it set none, or see to its exporters there: otel-search adds none to them",
)
def own_providers(case: Case) -> Iterator[str]:
    """Whether set before or in place of ours."""
    seen = case.application
    if seen is None or case.settings.config_file:
        return
    for process in seen.processes:
        if process.configured and not process.by_us and any(process.providers.values()):
            theirs = ", ".join(f"{signal}: {name}" for signal, name in process.providers.items() if name)
            yield f"the application's own providers are in place ({theirs})"
            return
    for line in seen.output:
        if "ignored the application's own" in line:
            yield "the application sets providers itself, too late: they are ignored"
            return


@check(
    "native-and-contrib",
    Severity.WARNING,
    "FastAPI's own telemetry and contrib's are both asked for in one application",
    "take FastAPIInstrumentor out of the application: FastAPI makes the spans itself, or otel-search sees to it",
)
def native_and_contrib(case: Case) -> Iterator[str]:
    """FastAPI is silent beneath contrib's middleware, which knows less."""
    seen = case.application
    for process in seen.processes if seen is not None else ():
        for app in process.apps:
            if app.native and app.contrib:
                yield f"{app.title!r} has contrib's middleware in it, and FastAPI's own telemetry is silent"
                return


@check(
    "several-processes",
    Severity.NOTE,
    "The service has several processes, each with telemetry of its own",
    "tell them apart by service.instance.id; /metrics answers for all of them",
)
def several_processes(case: Case) -> Iterator[str]:
    """Workers, and who looks after them."""
    seen = case.application
    if seen is not None and len(seen.processes) > 1:
        yield f"{len(seen.processes)} processes, {len(seen.workers)} of them with an application"
