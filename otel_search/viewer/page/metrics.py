"""Metrics: each with its attributes, a chart, and exemplars that open their traces."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from otel_search.viewer.page import parameters
from otel_search.viewer.page.numbers import SECOND, Series, levels, series_of, steps_of
from otel_search.viewer.page.rendering import DASH, chart, render

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

    from otel_search.viewer.page.parameters import Window

_COLORS = ("blue", "orange", "green", "purple", "sky", "red", "yellow", "grey")
_MOST_EXEMPLARS = 200
_MOST_LISTED = 12
_MOST_METRICS = 1_000


def page(request: Request) -> Response:
    """The view of all metrics."""
    words = parameters.text(request, "q")
    with request.app.state.store.snapshot() as connection:
        rows = connection.execute(
            "SELECT name, kind, unit, monotonic, max(description) AS description, count(DISTINCT series.id) AS series,"
            " max(series.last) AS last FROM metrics JOIN series ON series.metric = metrics.id"
            " GROUP BY name ORDER BY name LIMIT ?",
            (_MOST_METRICS,),
        ).fetchall()
    groups: dict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        if words.lower() in f"{row['name']} {row['description']}".lower():
            groups[row["name"].partition(".")[0]].append(row)
    # What is about searching and requests first, what is about the machine last.
    order = {"search": 0, "http": 1, "db": 2}
    return render(
        request,
        "metrics.html",
        groups=sorted(groups.items(), key=lambda group: (order.get(group[0], 9), group[0])),
        asked=words,
        total=len(rows),
    )


def one(request: Request) -> Response:
    """The view of one metric."""
    window = parameters.window_of(request)
    service = parameters.text(request, "service")
    with request.app.state.store.snapshot() as connection:
        metrics = connection.execute(
            "SELECT * FROM metrics WHERE name = ? ORDER BY id DESC", (request.path_params["name"],)
        ).fetchall()
        if not metrics:
            raise HTTPException(404)
        metric = metrics[0]
        found = series_of(connection, metric, window.start() * SECOND)
        exemplars = _exemplars(connection, metric["id"], window.start() * SECOND)
    services = sorted({series.service for series in found})
    found = [series for series in found if service in ("", series.service)]
    keys = _keys(found)
    by = parameters.choice(request, "by", keys) if keys else ""
    unit = metric["unit"]
    rate_unit = f"{unit if unit not in ('', '1') else ''}/s"
    shown = _histogram(found, window, unit, by) if "histogram" in metric["kind"] else None
    charts = shown or _plain(found, window, unit if found and found[0].level else rate_unit, by)
    listed = [exemplar for exemplar in exemplars if exemplar["trace_id"]]
    if "histogram" in metric["kind"] and not by:
        charts[0]["points"] = _highest(listed, window.step)
    return render(
        request,
        "metric.html",
        metric=metric,
        charts=charts,
        series=[(series, _latest(series)) for series in found[:100]],
        total=len(found),
        exemplars=sorted(listed, key=lambda row: -row["value"])[:_MOST_LISTED],
        keys=keys,
        by=by,
        service=service,
        services=services,
        window=window,
        windows=parameters.WINDOWS,
        parameters={"window": window.name, "by": by, "service": service},
    )


def _exemplars(connection: sqlite3.Connection, metric: int, start: int) -> list[sqlite3.Row]:
    rows: list[sqlite3.Row] = []
    for (series,) in connection.execute("SELECT id FROM series WHERE metric = ? LIMIT 300", (metric,)).fetchall():
        rows += connection.execute(
            "SELECT exemplars.*, traces.name AS trace_name FROM exemplars"
            " LEFT JOIN traces ON traces.trace_id = exemplars.trace_id"
            " WHERE series = ? AND time >= ? ORDER BY time DESC LIMIT ?",
            (series, start, _MOST_EXEMPLARS),
        ).fetchall()
    return sorted(rows, key=lambda row: -row["time"])[:_MOST_EXEMPLARS]


def _highest(exemplars: Sequence[sqlite3.Row], step: int) -> list[dict[str, Any]]:
    """The highest exemplar of each step: more than that would hide the lines."""
    highest: dict[int, sqlite3.Row] = {}
    for row in exemplars:
        slot = row["time"] // SECOND // step
        if slot not in highest or row["value"] > highest[slot]["value"]:
            highest[slot] = row
    return [
        {"time": row["time"] / 1e9, "value": row["value"], "url": f"/traces/{row['trace_id']}"}
        for row in highest.values()
    ]


def _keys(found: Sequence[Series]) -> list[str]:
    """The attributes that tell the series apart, the most telling ones first."""
    values: dict[str, set[str]] = defaultdict(set)
    for series in found:
        for name, value in series.attributes.items():
            values[name].add(str(value))
    return sorted(values, key=lambda name: (-len(values[name]), name))


def _grouped(found: Sequence[Series], by: str) -> list[tuple[str, list[Series]]]:
    """Series by the value of an attribute; without one, by all that tells them apart."""
    if by:
        groups: dict[str, list[Series]] = defaultdict(list)
        for series in found:
            groups[str(series.attributes.get(by, DASH))].append(series)
        return sorted(groups.items(), key=lambda group: -len(group[1]))
    telling = [name for name in _keys(found) if len({str(series.attributes.get(name)) for series in found}) > 1]
    named = Counter(series.service for series in found)
    return [
        (
            ", ".join(
                [
                    *([series.service] if len(named) > 1 else []),
                    *(str(series.attributes.get(name, DASH)) for name in telling),
                ]
            )
            or series.service,
            [series],
        )
        for series in found
    ]


def _histogram(found: Sequence[Series], window: Window, unit: str, by: str) -> list[dict[str, Any]]:
    times = window.times()
    if by:
        p95 = []
        for (label, members), color in zip(_grouped(found, by), _COLORS, strict=False):
            steps = steps_of(members, window.start(), window.step)
            p95.append((label, [_quantile(steps, time, 0.95) for time in times], color))
        return [chart("p95", times, p95, unit) | {"title": "95th percentile"}]
    steps = steps_of(found, window.start(), window.step)
    lines = [
        (name, [_quantile(steps, time, part) for time in times], color)
        for name, part, color in (("p50", 0.5, "sky"), ("p95", 0.95, "blue"), ("p99", 0.99, "purple"))
    ]
    rates = [steps[time].count / window.step if time in steps else 0.0 for time in times]
    return [
        chart("percentiles", times, lines, unit) | {"title": "Percentiles"},
        chart("rate", times, [("measurements", rates, "blue")], "/s", fill=True) | {"title": "Measurements per second"},
    ]


def _quantile(steps: dict[int, Any], time: int, part: float) -> float | None:
    return steps[time].quantile(part) if time in steps else None


def _plain(found: Sequence[Series], window: Window, unit: str, by: str) -> list[dict[str, Any]]:
    times = window.times()
    lines = []
    for label, members in _grouped(found, by):
        if members[0].level:
            values = levels(members, times, window.step)
        else:
            steps = steps_of(members, window.start(), window.step)
            values = [steps[time].value / window.step if time in steps else 0.0 for time in times]
        lines.append((label, values))
    # The eight that reach highest; more lines than that nobody can tell apart.
    lines.sort(key=lambda line: -max((value for value in line[1] if value is not None), default=0.0))
    colored = [(label, values, color) for (label, values), color in zip(lines, _COLORS, strict=False)]
    title = "Value" if found and found[0].level else "Per second"
    return [
        chart("values", times, colored, unit, fill=len(colored) == 1)
        | {"title": title, "left_out": len(lines) - len(colored)}
    ]


def _latest(series: Series) -> dict[str, Any]:
    point = series.points[-1]
    return {"value": point["value"], "count": point["count"], "time": point["until"]}
