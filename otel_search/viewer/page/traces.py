"""Traces: the newest or slowest, by text, route, status, duration, error and finding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse

from otel_search.viewer.page import choices, parameters
from otel_search.viewer.page.rendering import render

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

TRACE_COLUMNS = "id, trace_id, start, duration, name, service, route, status, error, errors, spans, calls, finding"

_MOST = 50
_MOST_MATCHES = 5_000
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_STATUSES = ("2xx", "3xx", "4xx", "5xx")
_OUTCOMES = {
    "errors": "errors > 0",
    "empty": "finding != '' AND finding = 'empty'",
    "partial": "finding != '' AND finding IN ('partial', 'timeout')",
    "retried": "finding != '' AND finding = 'retried'",
    "any": "finding != ''",
}


def page(request: Request) -> Response:
    """The view."""
    words = parameters.text(request, "q")
    if _TRACE_ID.fullmatch(words.lower()):
        return RedirectResponse(f"/traces/{words.lower()}")
    asked = {
        "q": words,
        "service": parameters.text(request, "service"),
        "route": parameters.text(request, "route"),
        "status": parameters.choice(request, "status", (*_STATUSES, *map(str, range(100, 600)))),
        "outcome": parameters.choice(request, "outcome", _OUTCOMES),
        "min": parameters.whole_number(request, "min"),
        "sort": parameters.choice(request, "sort", ("newest", "slowest"), "newest"),
        "before": parameters.whole_number(request, "before"),
    }
    with request.app.state.store.snapshot() as connection:
        rows = _find(connection, asked)
        routes, services = choices.routes(connection), choices.services(connection)
    return render(
        request,
        "traces.html",
        rows=rows[:_MOST],
        more=rows[_MOST - 1]["start"] if len(rows) > _MOST and asked["sort"] == "newest" else None,
        longest=max((row["duration"] for row in rows[:_MOST]), default=0),
        routes=routes,
        services=services,
        statuses=_STATUSES,
        outcomes=_OUTCOMES,
        parameters=asked | {"before": None, "sort": asked["sort"] if asked["sort"] != "newest" else None},
        asked=asked,
        is_filtered=any(asked[name] for name in ("q", "service", "route", "status", "outcome", "min")),
    )


def _find(connection: sqlite3.Connection, asked: dict[str, Any]) -> list[sqlite3.Row]:
    conditions: list[str] = []
    values: dict[str, Any] = {"most": _MOST + 1, "matches": _MOST_MATCHES}
    few = False
    if asked["q"]:
        match = parameters.match_of(asked["q"])
        if not match:
            return []
        values["match"] = match
        few = True
        conditions.append(
            "id IN (SELECT trace FROM spans WHERE id IN"
            " (SELECT rowid FROM span_words WHERE span_words MATCH :match ORDER BY rowid DESC LIMIT :matches)"
            " UNION SELECT traces.id FROM logs JOIN traces ON traces.trace_id = logs.trace_id WHERE logs.id IN"
            " (SELECT rowid FROM log_words WHERE log_words MATCH :match ORDER BY rowid DESC LIMIT :matches))"
        )
    for name in ("service", "route"):
        if asked[name]:
            conditions.append(f"{name} = :{name}")
            values[name] = asked[name]
    for column, condition in _ranges(asked, values):
        if _is_rare(connection, condition, values):
            few = True
            conditions.append(f"id IN (SELECT id FROM traces WHERE {condition})")  # noqa: S608  our own words
        else:
            conditions.append(f"+{column} {condition.removeprefix(column)}")
    if asked["outcome"]:
        conditions.append(_OUTCOMES[asked["outcome"]])
    if asked["before"]:
        values["before"] = asked["before"]
        conditions.append("start < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "duration" if asked["sort"] == "slowest" else "start"
    # A plus keeps SQLite from an index: few rows are sorted, and of many the first are taken as they lie.
    query = f"SELECT {TRACE_COLUMNS} FROM traces {where} ORDER BY {'+' if few else ''}{order} DESC LIMIT :most"  # noqa: S608  our own words
    return connection.execute(query, values).fetchall()


def _ranges(asked: dict[str, Any], values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Conditions that many rows may fulfil or few: the column, and the whole of it."""
    if asked["status"]:
        low = int(asked["status"][0]) * 100 if asked["status"] in _STATUSES else int(asked["status"])
        values |= {"low": low, "high": low + 99 if asked["status"] in _STATUSES else low}
        yield "status", "status BETWEEN :low AND :high"
    if asked["min"]:
        values["min"] = min(asked["min"], 10**12) * 1_000_000
        yield "duration", "duration >= :min"


def _is_rare(connection: sqlite3.Connection, condition: str, values: dict[str, Any]) -> bool:
    query = f"SELECT count(*) FROM (SELECT 1 FROM traces WHERE {condition} LIMIT :matches)"  # noqa: S608  our own words
    return bool(connection.execute(query, values).fetchone()[0] < _MOST_MATCHES)
