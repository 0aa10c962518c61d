"""What came of the load, for people: traces, log lines, metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from otel_search import semconv
from otel_search.demo import checks

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from otel_search.demo.checks import LogLine
    from otel_search.demo.load import Outcome
    from otel_search.viewer.recording import Recording
    from otel_search.viewer.telemetry import MetricPoint, Span

_BAR = 24
_NAME = 28
_MOST_FAULTS = 12
_MILLISECONDS = 1e3

# Attribute of an Elasticsearch span, and what to call its value in the narrow space of a report.
_DETAILS = (
    ("search.took", "took"),
    ("search.hits.total", "hits"),
    (semconv.DB_ROWS.name, "rows"),
    (semconv.DB_BATCH_SIZE, "items"),
    ("search.bulk.failed", "failed"),
    ("search.query.type", "query"),
    ("search.retries", "retries"),
    ("search.timed_out", "timed out"),
    ("search.shards.failed", "failed shards"),
    (semconv.ERROR_TYPE, "error"),
)
_LEVELS = {"info": "green", "warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}
_HEAD = frozenset(semconv.LOG_HEAD)


def title(console: Console, text: str) -> None:
    """The heading of a section."""
    console.print()
    console.rule(f"[bold]{escape(text)}", align="left", characters="-" if _plain(console) else "─")


def traces(console: Console, outcomes: Iterable[Outcome], recording: Recording) -> None:
    """The traces of the requests that are to be shown."""
    title(console, "Traces")
    for outcome in outcomes:
        if outcome.request.shown and outcome.trace_id:
            _trace(console, outcome, recording.trace(outcome.trace_id))


def _trace(console: Console, outcome: Outcome, spans: Sequence[Span]) -> None:
    if not spans:
        return
    request = outcome.request
    plain = _plain(console)
    console.print()
    _line(console, Text.assemble((request.kind, "bold"), "  ", (f"trace {outcome.trace_id}", "dim")))
    begin, end = min(span.start for span in spans), max(span.end for span in spans)
    rows = _tree(spans, plain=plain)
    width = max(_NAME, *(len(guide) + len(span.name) for span, guide in rows))
    for span, guide in rows:
        name = Text.assemble("  ", (guide, "dim"), (span.name, "bold" if span.kind == "SERVER" else ""))
        name.pad_right(width + 2 - name.cell_len)
        duration = f"{_seconds(span.duration):>10}  "
        _line(console, Text.assemble(name, "  ", _bar(span, begin, end, plain=plain), duration, _details(span)))
        if text := span.attributes.get(semconv.DB_QUERY_TEXT):
            _line(console, Text(f"  {' ' * len(guide)}{text}", "dim"))


def _line(console: Console, text: Text) -> None:
    """One line, cut where the screen ends."""
    text.truncate(console.width, overflow="ellipsis" if not _plain(console) else "crop")
    console.print(text, no_wrap=True, overflow="crop")


def _tree(spans: Sequence[Span], *, plain: bool) -> list[tuple[Span, str]]:
    """The spans, parents first, each with the lines that lead to it."""
    branch, last, through = ("|- ", "`- ", "|  ") if plain else ("├─ ", "└─ ", "│  ")
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_span_id if span.parent_span_id in known else ""].append(span)
    rows: list[tuple[Span, str]] = []

    def descend(parent: str, lead: str) -> None:
        for position, span in enumerate(children[parent]):
            is_last = position == len(children[parent]) - 1
            guide = (last if is_last else branch) if parent else ""
            rows.append((span, lead + guide))
            descend(span.span_id, lead + (("   " if is_last else through) if parent else ""))

    descend("", "")
    return rows


def _bar(span: Span, begin: int, end: int, *, plain: bool) -> Text:
    whole = max(end - begin, 1)
    first = min(int((span.start - begin) / whole * _BAR), _BAR - 1)
    length = max(round((span.end - span.start) / whole * _BAR), 1)
    length = min(length, _BAR - first)
    style = "red" if span.status == "ERROR" else "cyan" if checks.is_call(span) else "blue"
    full, empty = ("#", ".") if plain else ("█", "·")
    return Text.assemble((empty * first, "dim"), (full * length, style), (empty * (_BAR - first - length), "dim"))


def _details(span: Span) -> Text:
    attributes = span.attributes
    text = Text()
    if span.kind == "SERVER":
        status = attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE)
        text.append(str(status), _status_style(status))
        if query := attributes.get(semconv.URL_QUERY):
            text.append(f"  ?{query}")
    else:
        text.append(span.kind, "dim")
        if status := attributes.get(semconv.DB_STATUS_CODE):
            text.append(f" {status}", _status_style(status))
    for attribute, word in _DETAILS:
        value = attributes.get(attribute)
        if value is not None and value is not False:
            shown = _seconds(value) if word == "took" else str(value)
            text.append(f"  {word} ", "dim").append(shown, "red" if word in ("error", "failed") and value else "")
    return text


def _status_style(status: Any) -> str:
    code = int(status) if str(status).isdigit() else 0
    return "red" if code >= 500 else "yellow" if code >= 400 else "green"


def log_lines(console: Console, trace_id: str, lines: Iterable[LogLine]) -> None:
    """The log lines of one trace, as the service has written them to stdout."""
    title(console, f"Log lines of trace {trace_id}")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for line in lines:
        if line.get(semconv.LOG_TRACE_ID) != trace_id:
            continue
        level = str(line.get(semconv.LOG_LEVEL))
        fields = Text()
        for name, value in line.items():
            if name == semconv.LOG_REQUEST_ID or name not in _HEAD:
                shown = str(value).strip().rpartition("\n")[2][:120]
                fields.append(f"{name}=", "dim").append(f"{shown} ")
        grid.add_row(
            str(line.get(semconv.LOG_TIMESTAMP))[11:23],
            Text(level, _LEVELS.get(level, "")),
            Text(str(line.get(semconv.LOG_EVENT)), "bold"),
            fields,
        )
    console.print(grid)


def metrics(console: Console, recording: Recording, service_name: str) -> None:
    """The durations of requests and of Elasticsearch calls, and what is counted about searches."""
    title(console, "Metrics")
    http = checks.of_service(recording.latest(checks.HTTP_DURATION), service_name)
    _durations(
        console,
        checks.HTTP_DURATION,
        ("route", lambda point: _words(point, semconv.HTTP_REQUEST_METHOD, semconv.HTTP_ROUTE)),
        http,
    )
    calls = checks.of_service(recording.latest(semconv.DB_OPERATION_DURATION.name), service_name)
    _durations(
        console,
        semconv.DB_OPERATION_DURATION.name,
        ("operation", lambda point: _words(point, semconv.DB_OPERATION, semconv.DB_COLLECTION)),
        calls,
    )
    others = sorted({point.name for point in recording.metrics if point.name.startswith(("search.", "db.client.resp"))})
    if others:
        table = _table("metric", "attributes", "count", "value")
        for name in others:
            for point in checks.of_service(recording.latest(name), service_name):
                words = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in point.attributes.items())
                table.add_row(
                    escape(name), escape(words), str(point.count or ""), f"{point.value:.3f}".rstrip("0").rstrip(".")
                )
        console.print(table)


def _durations(console: Console, name: str, by: tuple[str, Any], points: Sequence[MetricPoint]) -> None:
    groups: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        groups[by[1](point)].append(point)
    table = _table(f"{name} by {by[0]}", "count", "errors", "average", "p95 <=")
    for group, members in sorted(groups.items()):
        count = sum(point.count for point in members)
        errors = sum(point.count for point in members if semconv.ERROR_TYPE in point.attributes)
        average = sum(point.value for point in members) / max(count, 1)
        table.add_row(escape(group), str(count), str(errors or ""), _seconds(average), quantile(members, 0.95))
    console.print(table)


def quantile(points: Sequence[MetricPoint], part: float) -> str:
    """The bucket bound that at least `part` of the measurements of these histograms are within."""
    bounds = points[0].bounds
    totals = [sum(counts) for counts in zip(*(point.buckets for point in points), strict=True)]
    needed = part * sum(totals)
    seen = 0
    for total, bound in zip(totals, bounds, strict=False):
        seen += total
        if seen >= needed:
            return _seconds(bound)
    return f"> {_seconds(bounds[-1])}" if bounds else "?"


def verdict(console: Console, outcomes: Sequence[Outcome], faults: Sequence[str]) -> None:
    """Whether everything that the load did was seen, and what was not."""
    title(console, "Everything was seen" if not faults else f"Not everything was seen: {len(faults)} faults")
    if faults:
        for fault in faults[:_MOST_FAULTS]:
            console.print(Text(f"  {fault}", "red"))
        if len(faults) > _MOST_FAULTS:
            console.print(f"  and {len(faults) - _MOST_FAULTS} more")
        return
    calls = sum(outcome.request.calls for outcome in outcomes)
    console.print(
        f"{len(outcomes)} requests: each has one server span with the right route and status, and its access line "
        f"on stdout and over OTLP with the same trace id; {calls} Elasticsearch calls have one span each beneath "
        "them; the metrics count the same."
    )


def complaints(console: Console, lines: Iterable[LogLine]) -> None:
    """What the service has logged as a warning or worse outside of a request: why telemetry may be missing."""
    for line in lines:
        if semconv.LOG_REQUEST_ID not in line and line.get(semconv.LOG_LEVEL) not in ("debug", "info"):
            exception = line.get(semconv.EXCEPTION_MESSAGE, "")
            words = f"the service says {line.get(semconv.LOG_LEVEL)}: {line.get(semconv.LOG_EVENT)} {exception}"
            _line(console, Text(" ".join(words.split()), "red"))


def to_try(console: Console, base_url: str, output: Path, viewer_url: str | None) -> None:
    """What can be looked at while the demo goes on."""
    if viewer_url is not None:
        title(console, "Look at it")
        for path, what in (
            ("/", "requests, errors and durations, live"),
            ("/traces?outcome=partial", "searches that lost a shard: which, and why?"),
            ("/traces?sort=slowest", "the slowest requests"),
            ("/searches?sort=empty", "what is searched for and not found"),
            ("/logs?level=warning", "warnings and errors, as they come"),
        ):
            console.print(Text.assemble(f"  {viewer_url}{path}", (f"  {what}", "dim")), soft_wrap=True)
    title(console, "Try it")
    for path, what in (
        ("/docs", "the service's routes"),
        ("/products/search?q=running+shoes&in_stock=true", "a search; its response has X-Trace-ID"),
        ("/products/search?q=hedphones", "a search without hits"),
        ("/products/report", "a slow one"),
        ("/products/brands", "a partial answer"),
        ("/products/search?q=black&page=500&size=50", "an error"),
    ):
        console.print(Text.assemble(f"  {base_url}{path}", (f"  {what}", "dim")), soft_wrap=True)
    console.print(Text.assemble("  The log lines: ", f"tail -f {output}"), soft_wrap=True)
    console.print("Ctrl-C ends it all.")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(columns[0], min_width=38, no_wrap=True)
    for column in columns[1:]:
        words = column == "attributes"
        table.add_column(column, justify="left" if words else "right", no_wrap=not words)
    return table


def _words(point: MetricPoint, *attributes: str) -> str:
    return " ".join(str(point.attributes.get(attribute, "")) for attribute in attributes)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * _MILLISECONDS:.1f} ms"


def _plain(console: Console) -> bool:
    return not console.encoding.startswith("utf")
