"""Variables that switch telemetry off, thin it out, or cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from otel_search.doctor.case import Case
from otel_search.doctor.exporters import SIGNALS, chosen
from otel_search.doctor.finding import Severity, check


@check(
    "sdk-disabled",
    Severity.ERROR,
    "`OTEL_SDK_DISABLED=true` switches everything off",
    "unset OTEL_SDK_DISABLED",
)
def sdk_disabled(case: Case) -> Iterator[str]:
    """Everything is off."""
    if case.settings.sdk_disabled:
        yield f"OTEL_SDK_DISABLED={case.variables['OTEL_SDK_DISABLED']}"


@check(
    "propagator-unknown",
    Severity.ERROR,
    "`OTEL_PROPAGATORS` names a propagator that is not installed, at which the launcher itself ends",
    "correct OTEL_PROPAGATORS, or install the package that has the propagator",
)
def propagator_unknown(case: Case) -> Iterator[str]:
    """OpenTelemetry's API raises while it is imported."""
    known = {entry.name for entry in case.entry_points("opentelemetry_propagator")} | {"none"}
    asked = [name.strip() for name in case.variables.get("OTEL_PROPAGATORS", "").split(",") if name.strip()]
    for name in asked:
        if name not in known:
            yield f"OTEL_PROPAGATORS has {name!r}; installed are {', '.join(sorted(known))}"


@check(
    "config-file-missing",
    Severity.ERROR,
    "`OTEL_CONFIG_FILE` cannot be read",
    "correct OTEL_CONFIG_FILE, or the file's permissions",
)
def config_file_missing(case: Case) -> Iterator[str]:
    """The file is what the SDK is set up from."""
    path = case.settings.config_file
    if path:
        try:
            Path(path).read_bytes()
        except OSError as error:
            yield f"OTEL_CONFIG_FILE={path}: {error.strerror}"


@check(
    "config-file",
    Severity.NOTE,
    "`OTEL_CONFIG_FILE` is set: providers, exporters and sampling are the file's business, and their variables are ignored",
    "look into the file; what the doctor says of exporters is not about it",
)
def config_file(case: Case) -> Iterator[str]:
    """The file is in charge."""
    if case.settings.config_file and not list(config_file_missing(case)):
        yield f"OTEL_CONFIG_FILE={case.settings.config_file} decides on providers, exporters and sampling"


@check(
    "value-not-accepted",
    Severity.WARNING,
    "A variable has a value that cannot be used",
    "correct the value; until then the default is used",
)
def value_not_accepted(case: Case) -> Iterator[str]:
    """Ours and the SDK's."""
    for line in dict.fromkeys((*case.settings.faults, *case.corrected[1])):
        if "is not accepted" in line:
            yield case.redactor.text(line)


@check(
    "setting-unknown",
    Severity.WARNING,
    "A variable begins with `OTEL_SEARCH_` and is no setting",
    "correct its name; the settings are in the README",
)
def setting_unknown(case: Case) -> Iterator[str]:
    """Typing mistakes, mostly."""
    for line in case.settings.faults:
        if "is not a setting" in line:
            yield line


@check(
    "signal-off",
    Severity.WARNING,
    "A signal is exported to nowhere",
    "unset its OTEL_…_EXPORTER, or set it to otlp",
)
def signal_off(case: Case) -> Iterator[str]:
    """`none` is a choice, and often an old one."""
    for signal in SIGNALS:
        if not case.is_silent and [name.lower() for name in chosen(case.effective, signal)] == ["none"]:
            yield f"OTEL_{signal.upper()}_EXPORTER=none: no {signal} are exported"


@check(
    "signal-not-by-otlp",
    Severity.NOTE,
    "A signal does not go to an OTLP endpoint",
    "look for it where it goes, or set its OTEL_…_EXPORTER to otlp",
)
def signal_not_by_otlp(case: Case) -> Iterator[str]:
    """To the console, to Prometheus, to Elasticsearch."""
    for signal in SIGNALS:
        names = chosen(case.effective, signal)
        others = [name for name in names if name != "none" and not name.startswith("otlp")]
        if others and len(others) == len(names) and not case.is_silent:
            yield f"OTEL_{signal.upper()}_EXPORTER={','.join(names)}: {signal} go there alone"


@check(
    "sampling-off",
    Severity.ERROR,
    "The sampler drops every trace",
    "unset OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG",
)
def sampling_off(case: Case) -> Iterator[str]:
    """Always off, or a ratio of nothing."""
    sampler, ratio = _sampling(case)
    if sampler.endswith("always_off") or ratio == 0:
        yield f"OTEL_TRACES_SAMPLER={sampler}{'' if ratio is None else f' with a ratio of {ratio:g}'} drops every trace"


@check(
    "sampling-ratio",
    Severity.NOTE,
    "The sampler drops some traces",
    "expect a part of them only; for all of them unset OTEL_TRACES_SAMPLER",
)
def sampling_ratio(case: Case) -> Iterator[str]:
    """A part of the traces."""
    sampler, ratio = _sampling(case)
    if ratio is not None and 0 < ratio < 1:
        yield f"OTEL_TRACES_SAMPLER={sampler} keeps {ratio:.4%} of the traces".replace("0000%", "%")


def _sampling(case: Case) -> tuple[str, float | None]:
    if case.is_silent:
        return "", None
    sampler = case.effective.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if "ratio" not in sampler:
        return sampler, None
    try:
        return sampler, float(case.effective.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    except ValueError:
        return sampler, 1.0


_USUAL = ("/", "/items/1", "/products/search")


@check(
    "urls-excluded",
    Severity.ERROR,
    "The patterns of excluded URLs match any URL",
    "correct OTEL_PYTHON_FASTAPI_EXCLUDED_URLS or OTEL_PYTHON_EXCLUDED_URLS; they are searched for in the whole URL",
)
def urls_excluded(case: Case) -> Iterator[str]:
    """Patterns that are too wide."""
    settings = case.settings
    of_fastapi = bool(settings.fastapi_excluded_urls)
    for pattern in settings.fastapi_excluded_urls or settings.excluded_urls:
        if all(pattern.search(f"http://127.0.0.1:8000{path}") for path in _USUAL):
            name = "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS" if of_fastapi else "OTEL_PYTHON_EXCLUDED_URLS"
            yield f"{name} has {pattern.pattern!r}, which matches any URL of this service"


@check(
    "service-unnamed",
    Severity.NOTE,
    "The service has no name",
    "set OTEL_SERVICE_NAME, or look for unknown_service",
)
def service_unnamed(case: Case) -> Iterator[str]:
    """It is there, under another name."""
    named = case.variables.get("OTEL_SERVICE_NAME", "").strip()
    attributes = case.variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named and "service.name=" not in attributes.replace(" ", "") and not case.is_silent:
        yield "OTEL_SERVICE_NAME is not set: backends list the service as unknown_service"
