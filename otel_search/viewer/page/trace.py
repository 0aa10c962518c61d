"""One trace: its spans as a waterfall, what each says, and its log lines."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException

from otel_search import semconv
from otel_search.viewer.page.logs import LOG_COLUMNS, lines_of
from otel_search.viewer.page.rendering import as_console, as_curl, duration, pretty, quantity, render, seconds
from otel_search.viewer.store import meaning

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

_MOST_SPANS = 1_000
_MOST_LINES = 500
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

# What a call's line in the waterfall says of it: attribute, word, and how its value is said.
_FACTS = (
    (semconv.QUERY_TYPE, "query"),
    (semconv.HITS_TOTAL, "hits"),
    (semconv.DB_RETURNED_ROWS, "returned"),
    (semconv.DB_BATCH_SIZE, "items"),
    (semconv.BULK_FAILED, "failed items"),
    (semconv.SHARDS_FAILED, "failed shards"),
    (semconv.RETRIES_MADE, "retries"),
)
_ALARMING = (semconv.BULK_FAILED, semconv.SHARDS_FAILED, semconv.RETRIES_MADE)


@dataclass(frozen=True)
class Shown:
    """A span in the waterfall.

    Attributes:
        row: As it is stored.
        depth: How many spans are above it.
        left, width: Of its bar, in percent of the trace.
        took: Width of the part of its bar that Elasticsearch says it took, in percent of the trace.
        color: `server`, `call`, `client` or `internal`.
    """

    row: sqlite3.Row
    service: str
    depth: int
    left: float
    width: float
    took: float
    color: str
    finding: str
    facts: list[tuple[str, str, bool]]
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    events: list[Any]
    links: list[Any]
    query: str
    curl: str
    console: str
    took_text: str
    hash: str


def page(request: Request) -> Response:
    """The view."""
    trace_id = request.path_params["trace_id"].lower()
    if not _TRACE_ID.fullmatch(trace_id):
        raise HTTPException(404)
    with request.app.state.store.snapshot() as connection:
        trace = connection.execute("SELECT * FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
        lines = lines_of(
            connection.execute(
                f"SELECT {LOG_COLUMNS} FROM logs WHERE trace_id = ? AND trace_id != '' ORDER BY time, id LIMIT ?",  # noqa: S608
                (trace_id, _MOST_LINES),
            )
        )
        if trace is None:
            status = 200 if lines else 404
            return render(request, "no_trace.html", status, trace_id=trace_id, lines=lines)
        rows = connection.execute(
            "SELECT spans.*, resources.service AS service, resources.attributes AS resource_attributes FROM spans"
            " LEFT JOIN resources ON resources.id = spans.resource WHERE trace = ? ORDER BY start, spans.id LIMIT ?",
            (trace["id"], _MOST_SPANS),
        ).fetchall()
    begin = min(row["start"] for row in rows)
    whole = max(max(row["start"] + row["duration"] for row in rows) - begin, 1)
    spans = [_shown(row, depth, begin, whole) for row, depth in _tree(rows)]
    return render(
        request,
        "trace.html",
        trace=trace,
        spans=spans,
        whole=whole,
        ticks=[(part * 25, duration(whole * part / 4)) for part in range(5)],
        services=sorted({span.service for span in spans}),
        lines=lines,
        begin=begin,
    )


def _tree(rows: list[sqlite3.Row]) -> Iterator[tuple[sqlite3.Row, int]]:
    """Spans with their depth, each followed by its children. A loop of parents is cut, not followed."""
    known = {row["span_id"] for row in rows}
    children: dict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        parent = row["parent_span_id"]
        children[parent if parent in known and parent != row["span_id"] else ""].append(row)
    seen: set[str] = set()
    pending = [(row, 0) for row in reversed(children[""])]
    while pending:
        row, depth = pending.pop()
        if row["span_id"] in seen:
            continue
        seen.add(row["span_id"])
        yield row, depth
        pending += [(child, depth + 1) for child in reversed(children[row["span_id"]])]
    for row in rows:  # what only points at itself, in a circle
        if row["span_id"] not in seen:
            yield row, 0


def _shown(row: sqlite3.Row, depth: int, begin: int, whole: int) -> Shown:
    attributes = orjson.loads(row["attributes"])
    is_call = meaning.system_of(attributes) in meaning.ENGINES
    took = meaning.number(attributes.get(semconv.TOOK)) if is_call else None
    width = row["duration"] / whole * 100
    method, url, query = meaning.method_of(attributes), str(attributes.get(semconv.URL_FULL) or ""), ""
    if meaning.system_of(attributes):
        query = meaning.query_of(attributes)
    return Shown(
        row=row,
        service=row["service"] or "unknown_service",
        depth=min(depth, 24),
        left=(row["start"] - begin) / whole * 100,
        width=width,
        took=0 if took is None else min(took * 1e9 / whole * 100, width),
        color="call"
        if is_call
        else {"SERVER": "server", "CONSUMER": "server", "CLIENT": "client"}.get(row["kind"], "internal"),
        finding=_finding(row, attributes) if is_call else "",
        facts=list(_facts(attributes)) if is_call else [],
        attributes=attributes,
        resource=orjson.loads(row["resource_attributes"] or "{}"),
        events=orjson.loads(row["events"]),
        links=orjson.loads(row["links"]),
        query=pretty(query) if query else "",
        curl=as_curl(method, url, query) if is_call and url else "",
        console=as_console(method, url, query) if is_call and url else "",
        took_text="" if took is None else f"{seconds(took)} of {duration(row['duration'])}",
        hash=str(attributes.get(semconv.QUERY_HASH) or ""),
    )


def _finding(row: sqlite3.Row, attributes: Mapping[str, Any]) -> str:
    if row["status"] == "ERROR":
        return "error"
    outcome = str(attributes.get(semconv.OUTCOME) or "")
    if outcome in meaning.FINDINGS:
        return outcome
    return "partial" if (meaning.number(attributes.get(semconv.BULK_FAILED)) or 0) > 0 else ""


def _facts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for name, word in _FACTS:
        value = attributes.get(name)
        if value is None or (name in _ALARMING and not value):
            continue
        number = meaning.number(value)
        yield word, quantity(number) if number is not None else str(value)[:60], name in _ALARMING
    total, failed = attributes.get(semconv.SHARDS_TOTAL), attributes.get(semconv.SHARDS_FAILED)
    if meaning.number(total) is not None and not failed:
        yield "shards", str(total), False
    if attributes.get(semconv.TIMED_OUT) is True:
        yield "timed out", "yes", True
