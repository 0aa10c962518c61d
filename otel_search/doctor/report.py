"""The examination for people: tables by rich if it is installed, plain columns if not."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from otel_search.doctor.examination import Examination
from otel_search.doctor.finding import Finding, Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


@dataclass(frozen=True)
class Section:
    """A table with a title; its columns have no heads, because the rows speak for themselves."""

    title: str
    rows: Sequence[Sequence[str]]


def write(examination: Examination, out: TextIO, *, everything: bool, color: bool) -> None:
    """Write a report.

    Args:
        examination: What was found.
        out: Where to.
        everything: Whether settings at their defaults and all packages are in it.
        color: Whether colours may be used.
    """
    sections = list(_sections(examination.facts(), everything=everything))
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        _plain(examination, sections, out)
        return

    class PatientConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - it is called where the error is handled, and is the command line's business

    width = None if out.isatty() else 140
    console = PatientConsole(file=out, highlight=False, no_color=not color, force_terminal=color or None, width=width)
    _rich(examination, sections, console)


def _sections(facts: dict[str, Any], *, everything: bool) -> Iterator[Section]:
    yield Section(
        "In charge", [("Python", facts["python"]), *((name, text) for name, text in facts["in_charge"].items())]
    )
    packages = facts["packages"].items()
    main = [
        pair for pair in packages if everything or not pair[0].startswith("opentelemetry-") or pair[0].endswith("sdk")
    ]
    yield Section("Installed", main)
    yield Section("Instrumentations", [(each["name"], each["of"], each["state"]) for each in facts["instrumentations"]])
    settings = [each for each in facts["settings"] if everything or each["origin"] != "default"]
    rows = [(each["variable"], each["value"], each["origin"]) for each in settings]
    yield Section("Settings" if everything else "Settings that are not at their default", rows)
    yield Section(
        "Exporters",
        [(each["signal"], each["exporter"], each["endpoint"], each["answer"]) for each in facts["exporters"]],
    )
    if facts["application"] is not None:
        yield Section("Application", list(_application(facts["application"])))


def _application(seen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if seen["url"]:
        yield "request", f"GET {seen['url']}: {seen['status'] or seen['detail']}"
    for process in seen["processes"]:
        apps = [
            f"{app['title']!r} "
            + (", ".join(word for word in ("native", "contrib", "ours") if app[word]) or "not instrumented")
            for app in process["applications"]
        ]
        yield f"process {process['pid']}", "; ".join(apps) or "no application"
    yield "trace", seen["trace_id"] or "none"
    yield "spans", ", ".join(seen["spans"]) or "none"
    yield "log records", str(seen["log_records"])
    yield "metrics", ", ".join(seen["metrics"]) or "none"


def summary(findings: Sequence[Finding]) -> str:
    """The last line: how many of each."""
    counts = [(severity, sum(each.severity is severity for each in findings)) for severity in Severity]
    words = [f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts if count]
    return ", ".join(words) or "Nothing is wrong."


def _plain(examination: Examination, sections: Sequence[Section], out: TextIO) -> None:
    width = shutil.get_terminal_size((140, 24)).columns if out.isatty() else 140
    for section in sections:
        if section.rows:
            out.write(f"{section.title}\n")
            widths = [max(len(cell) for cell in column) for column in zip(*section.rows, strict=True)]
            for row in section.rows:
                line = "  ".join(cell.ljust(each) for cell, each in zip(row, widths, strict=True)).rstrip()
                out.write(f"  {line}\n")
            out.write("\n")
    for finding in examination.findings:
        head = f"{finding.severity.upper()} {finding.check}: "
        out.write(textwrap.fill(head + finding.what, width, subsequent_indent="  ") + "\n")
        out.write(textwrap.fill(f"-> {finding.do}", width, initial_indent="  ", subsequent_indent="     ") + "\n")
    out.write(f"{summary(examination.findings)}\n")


def _rich(examination: Examination, sections: Sequence[Section], console: Any) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for section in sections:
        if section.rows:
            console.print(Text(section.title, "bold"))
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            for _ in section.rows[0]:
                table.add_column(overflow="fold")
            for row in section.rows:
                table.add_row(*map(Text, row))
            console.print(Padding(table, (0, 0, 1, 2), expand=False))
    for finding in examination.findings:
        line = Text(f"{finding.severity.upper()} {finding.check}", _STYLES[finding.severity])
        console.print(line.append(f": {finding.what}", "not bold default"))
        console.print(Padding(Text(f"→ {finding.do}"), (0, 0, 0, 2), expand=False))
    console.print(Text(summary(examination.findings), "bold"))
