"""What the doctor finds in an environment."""

from __future__ import annotations

from otel_search.doctor.case import Case
from otel_search.doctor.examination import examine
from otel_search.doctor.finding import CHECKS, Finding

SILENT = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
"""No endpoint, so that none is asked."""

WELL = {**SILENT, "OTEL_PYTHON_DISTRO": "otel_search", "OTEL_SERVICE_NAME": "shop"}


def findings(environ: dict[str, str], case: Case | None = None) -> dict[str, list[str]]:
    """What is so, by the name of the finding; every line tells what to do."""
    if case is None:
        found: list[Finding] = list(examine({**WELL, **environ}).findings)
    else:
        found = [finding for check in CHECKS.values() for finding in check.findings(case)]
    by_name: dict[str, list[str]] = {}
    for finding in found:
        assert finding.do, finding
        assert "\n" not in finding.what + finding.do, finding
        by_name.setdefault(finding.check, []).append(finding.what)
    return by_name


def only(environ: dict[str, str], name: str, beside: tuple[str, ...] = ()) -> str:
    """What is so, if this is the only finding but for notes that every environment here has."""
    found = findings(environ)
    unasked = set(found) - {name, "signal-not-by-otlp", *beside}
    assert not unasked, found
    assert name in found, found
    return "\n".join(found[name])
