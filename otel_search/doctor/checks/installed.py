"""What is installed, and whether it fits together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check


@check(
    "launcher-missing",
    Severity.ERROR,
    "There is no `opentelemetry-instrument`",
    "install otel-search into the application's environment and start the application with the launcher from there",
)
def launcher_missing(case: Case) -> Iterator[str]:
    """No launcher."""
    if case.launcher is None:
        yield f"opentelemetry-instrument is neither beside {sys.executable} nor on PATH"


@check(
    "launcher-elsewhere",
    Severity.WARNING,
    "The `opentelemetry-instrument` on PATH belongs to another Python environment",
    "activate the application's environment, or give the launcher's whole path",
)
def launcher_elsewhere(case: Case) -> Iterator[str]:
    """Another environment's launcher comes first on PATH."""
    import shutil

    found = shutil.which("opentelemetry-instrument", path=case.variables.get("PATH"))
    here = Path(sys.executable).parent
    if found and Path(found).parent.resolve() != here.resolve() and (here / "opentelemetry-instrument").exists():
        yield f"the shell finds {found}, and otel-search is installed in {here.parent}"


@check(
    "version-skew",
    Severity.ERROR,
    "Installed packages do not fit together",
    "install them together again, with the constraints of one release: pip install --upgrade otel-search",
)
def version_skew(case: Case) -> Iterator[str]:
    """A requirement of a telemetry package is not fulfilled."""
    seen = set()
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-")
        if name in seen or not name.startswith(("opentelemetry-", "otel-search")):
            continue
        seen.add(name)
        for text in distribution.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = case.versions.get(requirement.name.lower().replace("_", "-"))
            if version is None:
                yield f"{name} {distribution.version} needs {requirement.name}, which is not installed"
            elif not requirement.specifier.contains(version, prereleases=True):
                needs = f"{requirement.name}{requirement.specifier}"
                yield f"{name} {distribution.version} needs {needs}, and {version} is installed"


@check(
    "fastapi-without-telemetry",
    Severity.ERROR,
    "FastAPI is too old for telemetry of its own, and contrib's instrumentation is not installed",
    "upgrade FastAPI to 0.142 or later, or pip install opentelemetry-instrumentation-fastapi",
)
def fastapi_without_telemetry(case: Case) -> Iterator[str]:
    """Nobody can make server spans."""
    version = case.versions.get("fastapi")
    if version and _below(version, (0, 142)) and "opentelemetry-instrumentation-fastapi" not in case.versions:
        yield f"FastAPI {version} makes no spans, and nothing makes them in its place"


@check(
    "elasticsearch-without-telemetry",
    Severity.WARNING,
    "The Elasticsearch client is older than 8.0",
    "upgrade elasticsearch to 8.13 or later",
)
def elasticsearch_without_telemetry(case: Case) -> Iterator[str]:
    """A client that is not supported."""
    version = case.versions.get("elasticsearch")
    if version and _below(version, (8, 0)):
        yield f"elasticsearch {version} is not supported: its calls make no spans of ours"


def _below(version: str, limit: tuple[int, int]) -> bool:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return (major, minor) < limit
