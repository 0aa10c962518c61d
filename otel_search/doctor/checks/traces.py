"""Whether the telemetry of one request arrives, once. With a command only."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from otel_search.doctor.case import Case
from otel_search.doctor.exporters import targets
from otel_search.doctor.finding import Severity, check
from otel_search.doctor.observed import Observed


def _answered(case: Case) -> Observed | None:
    seen = case.application
    return seen if seen is not None and not seen.failed else None


@check(
    "server-span-missing",
    Severity.ERROR,
    "A request was answered, and no server span of it has left the application",
    "mend the findings above; if there are none, ask for another path with --path",
)
def server_span_missing(case: Case) -> Iterator[str]:
    """With what is known of the cause."""
    seen = _answered(case)
    if seen is None or seen.server_spans or case.is_silent:
        return
    if not any(target.signal == "traces" for target in targets(case.effective)):
        return  # they were not to come here
    yield f"GET {seen.url} was answered with {seen.status}, and no server span arrived{_why(case, seen)}"


def _why(case: Case, seen: Observed) -> str:
    path = urlsplit(seen.url).path
    settings = case.settings
    excluded = settings.fastapi_excluded_urls or settings.excluded_urls
    if any(pattern.search(seen.url) for pattern in excluded):
        return f": {path} is excluded"
    if path.rstrip("/") in (settings.metrics_path, settings.health_path, "/livez", "/readyz", "/ready", "/live"):
        return f": {path} is a probe, which has no spans"
    for process in seen.processes:
        if "AlwaysOff" in process.sampler:
            return f": the sampler is {process.sampler}"
        if process.apps and not any(app.ours or app.native or app.contrib for app in process.apps):
            return ": no application in it is instrumented"
        if process.configured and not process.fastapi:
            return ": it does not use FastAPI"
    return ""


@check(
    "server-span-doubled",
    Severity.WARNING,
    "One request has several server spans",
    "let one instrument: take FastAPIInstrumentor or OpenTelemetryMiddleware out of the application",
)
def server_span_doubled(case: Case) -> Iterator[str]:
    """Two instrumentations, or two exporters."""
    seen = _answered(case)
    if seen is not None and len(seen.server_spans) > 1:
        scopes = ", ".join(sorted(span.scope for span in seen.server_spans))
        yield f"GET {seen.url} has {len(seen.server_spans)} server spans, of {scopes}"


@check(
    "exported-elsewhere",
    Severity.WARNING,
    "The application has exporters that the variables do not know of",
    "look there, or take the endpoint out of the application's code",
)
def exported_elsewhere(case: Case) -> Iterator[str]:
    """Endpoints in code win over variables."""
    seen = _answered(case)
    if seen is None or case.settings.config_file:
        return
    said = set()
    for process in seen.processes:
        for signal, names in process.exporters.items():
            for name in names:
                address = urlsplit(name if "://" in name else f"//{name}").netloc
                if ":" in name and address not in seen.relays and (signal, name) not in said:
                    said.add((signal, name))
                    yield case.redactor.text(f"{signal} go to {name}, which is set in the application")


@check(
    "signal-missing",
    Severity.WARNING,
    "A signal was to be exported, and nothing of it has arrived",
    "see whether the application replaces logging or the providers, and what it writes at its start",
)
def signal_missing(case: Case) -> Iterator[str]:
    """Logs and metrics; the server span has a check of its own."""
    seen = _answered(case)
    if seen is None or case.is_silent:
        return
    arrived = {"traces": True, "metrics": bool(seen.metrics), "logs": bool(seen.logs)}
    for target in targets(case.effective):
        if not arrived[target.signal]:
            yield f"no {target.signal} arrived in the life of the application"


@check(
    "delivery-refused",
    Severity.ERROR,
    "What the application exports is not accepted at the endpoint",
    "mend the endpoint, see above; a batch with contents may be refused where an empty one is not",
)
def delivery_refused(case: Case) -> Iterator[str]:
    """Behind the doctor's relay."""
    seen = case.application
    if seen is None:
        return
    known = {target.url for target, outcome in case.probes if outcome.problem}  # an empty batch was refused, too
    refused: dict[tuple[str, str], list[str]] = {}
    for delivery in seen.deliveries:
        if delivery.refused and delivery.url not in known:
            refused.setdefault((delivery.url, delivery.refused), []).append(delivery.signal)
    for (url, reason), signals in refused.items():
        count = f"{len(signals)} batch{'es' if len(signals) > 1 else ''} of {signals[0]}"
        yield case.redactor.text(f"{count} did not reach {url}: {reason}")


@check(
    "telemetry-lost",
    Severity.WARNING,
    "The application has lost telemetry on its way out",
    "see the reason: a full queue wants a shorter OTEL_BSP_SCHEDULE_DELAY, a failed export a better endpoint",
)
def telemetry_lost(case: Case) -> Iterator[str]:
    """As the application counts it."""
    seen = case.application
    for process in seen.processes if seen is not None else ():
        if process.losses:
            lost = ", ".join(f"{count} {name}" for name, count in process.losses.items())
            yield f"process {process.pid} has lost {lost}"


@check(
    "answered-with-error",
    Severity.NOTE,
    "The application answered the doctor's request with a server error",
    "ask for another path with --path",
)
def answered_with_error(case: Case) -> Iterator[str]:
    """The doctor's business is the telemetry of it."""
    seen = _answered(case)
    if seen is not None and seen.status >= 500:
        yield f"GET {seen.url} was answered with {seen.status}"
