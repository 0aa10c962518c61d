"""Now: requests per second, errors and durations of the last minutes, and what is worth a look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_search.viewer.page import choices, parameters
from otel_search.viewer.page.rendering import chart, render
from otel_search.viewer.page.traces import TRACE_COLUMNS
from otel_search.viewer.store.buckets import quantile, summed

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

    from otel_search.viewer.page.parameters import Window

_QUANTILES = (0.5, 0.95, 0.99)
_MOST_ROUTES = 40
_FINDINGS = ("error", "timeout", "partial", "empty", "retried")


def page(request: Request) -> Response:
    """The view."""
    window = parameters.window_of(request)
    service = parameters.text(request, "service")
    with request.app.state.store.snapshot() as connection:
        start = window.start()
        context = {
            "window": window,
            "windows": parameters.WINDOWS,
            "service": service,
            "services": choices.services(connection),
            "parameters": {"window": window.name, "service": service},
            **_durations(connection, window, start, service),
            "routes": _routes(connection, window, start, service),
            "searches": _searches(connection, start, service),
            "findings": _findings(connection, start, service),
        }
    return render(request, "now.html", **context)


def _durations(connection: sqlite3.Connection, window: Window, start: int, service: str) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT slot / :step * :step AS time, error, bucket, sum(count) AS count FROM requests"
        " WHERE step = :slots AND slot >= :start AND (:service = '' OR service = :service) GROUP BY time, error, bucket",
        {"step": window.step, "slots": window.slots, "start": start, "service": service},
    ).fetchall()
    steps: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        steps[row["time"]].append(row)
    times = window.times()
    rates: list[float] = []
    errors: list[float] = []
    quantiles: list[list[float | None]] = [[], [], []]
    for time in times:
        of_step = steps.get(time, [])
        rates.append(sum(row["count"] for row in of_step) / window.step)
        errors.append(sum(row["count"] for row in of_step if row["error"]) / window.step)
        counts = summed((row["bucket"], row["count"]) for row in of_step)
        for values, part in zip(quantiles, _QUANTILES, strict=True):
            values.append(_in_seconds(quantile(counts, part)))
    total = sum(row["count"] for row in rows)
    counts = summed((row["bucket"], row["count"]) for row in rows)
    latest = _latest_rate(rates)
    return {
        "total": total,
        "errors": sum(row["count"] for row in rows if row["error"]),
        "rate": latest,
        "quantiles": [quantile(counts, part) for part in _QUANTILES],
        "charts": {
            "rate": chart(
                "rate", times, (("requests", rates, "blue"), ("errors", errors, "red")), "{request}/s", fill=True
            ),
            "durations": chart(
                "durations",
                times,
                tuple(zip(("p50", "p95", "p99"), quantiles, ("sky", "blue", "purple"), strict=True)),
                "s",
            ),
        },
    }


def _latest_rate(rates: Sequence[float]) -> float | None:
    """The rate of the last steps in which there was anything, so that an idle moment is no zero."""
    last = rates[-4:]
    return sum(last) / len(last) if last else None


def _in_seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _routes(connection: sqlite3.Connection, window: Window, start: int, service: str) -> list[dict[str, Any]]:
    routes: dict[tuple[str, str], dict[str, Any]] = {}
    for row in connection.execute(
        "SELECT service, route, error, bucket, sum(count) AS count FROM requests"
        " WHERE step = :slots AND slot >= :start AND (:service = '' OR service = :service)"
        " GROUP BY service, route, error, bucket",
        {"slots": window.slots, "start": start, "service": service},
    ):
        key = (row["service"], row["route"])
        route = routes.setdefault(key, {"service": key[0], "name": key[1], "count": 0, "errors": 0, "buckets": {}})
        route["count"] += row["count"]
        route["errors"] += row["count"] if row["error"] else 0
        route["buckets"][row["bucket"]] = route["buckets"].get(row["bucket"], 0) + row["count"]
    busiest = sorted(routes.values(), key=lambda route: (-route["count"], route["name"]))[:_MOST_ROUTES]
    for route in busiest:
        route["quantiles"] = [quantile(route["buckets"], part) for part in _QUANTILES]
    return busiest


def _searches(connection: sqlite3.Connection, start: int, service: str) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(
        "SELECT coalesce(sum(m.count), 0) AS calls, coalesce(sum(m.searches), 0) AS searches, coalesce(sum(m.empty), 0) AS empty,"
        " coalesce(sum(m.partial), 0) AS partial, coalesce(sum(m.errors), 0) AS errors"
        " FROM shape_minutes AS m JOIN shapes ON shapes.id = m.shape"
        " WHERE m.minute >= :minute AND (:service = '' OR shapes.service = :service)",
        {"minute": start // 60, "service": service},
    ).fetchone()
    return row


def _findings(connection: sqlite3.Connection, start: int, service: str) -> list[sqlite3.Row]:
    """Traces worth a look: some of each kind, so that what happens often hides nothing."""
    values = {"start": start * parameters.SECOND, "service": service}
    within = "start >= :start AND (:service = '' OR service = :service)"
    found: dict[int, sqlite3.Row] = {}
    for source, most in (  # our own words, and no one else's
        (f"traces WHERE errors > 0 AND {within} ORDER BY start DESC", 3),
        *(
            (f"traces WHERE finding != '' AND finding = '{kind}' AND {within} ORDER BY start DESC", 2)
            for kind in _FINDINGS
        ),
        # Of the slowest ones of all times, those of this window: by the index of durations alone.
        (f"(SELECT * FROM traces ORDER BY duration DESC LIMIT 200) WHERE {within} ORDER BY duration DESC", 2),  # noqa: S608
    ):
        for row in connection.execute(f"SELECT {TRACE_COLUMNS} FROM {source} LIMIT {most}", values):  # noqa: S608
            found[row["id"]] = row
    return sorted(found.values(), key=lambda row: -row["start"])
