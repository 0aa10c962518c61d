"""Searches: what Elasticsearch is asked, by shape."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from otel_search.viewer.page import parameters
from otel_search.viewer.page.rendering import chart, pretty, render
from otel_search.viewer.store.buckets import quantile, summed

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

_MOST = 200
_MOST_EXAMPLES = 10
_SORTS = {
    "count": lambda shape: -shape["count"],
    "p95": lambda shape: -(shape["p95"] or 0),
    "total": lambda shape: -shape["count"] * (shape["p50"] or 0),
    "empty": lambda shape: -shape["empty"] / max(shape["searches"], 1),
    "partial": lambda shape: -(shape["partial"] + shape["errors"]) / shape["count"],
}
_SUMS = (
    "sum(count) AS count, sum(took) AS took, sum(tooks) AS tooks, sum(searches) AS searches, sum(empty) AS empty,"
    " sum(partial) AS partial, sum(errors) AS errors"
)
_EXAMPLES = (
    "SELECT calls.*, traces.trace_id, traces.name, spans.span_id FROM calls JOIN traces ON traces.id = calls.trace"
    " JOIN spans ON spans.id = calls.span WHERE calls.shape = :shape"
)


def page(request: Request) -> Response:
    """The view of all shapes."""
    window = parameters.window_of(request)
    kind = parameters.choice(request, "kind", ("searches", "all"), "searches")
    sort = parameters.choice(request, "sort", _SORTS, "count")
    with request.app.state.store.snapshot() as connection:
        shapes = _shapes(connection, window.start() // 60, only_searches=kind == "searches")
    shapes.sort(key=_SORTS[sort])
    return render(
        request,
        "searches.html",
        shapes=shapes[:_MOST],
        slowest=max((shape["p95"] or 0 for shape in shapes), default=0),
        window=window,
        windows=parameters.WINDOWS,
        kind=kind,
        sort=sort,
        parameters={"window": window.name, "kind": kind, "sort": sort},
    )


def _shapes(connection: sqlite3.Connection, minute: int, *, only_searches: bool) -> list[dict[str, Any]]:
    shapes: dict[int, dict[str, Any]] = {}
    for row in connection.execute(
        f"SELECT shape, {_SUMS} FROM shape_minutes WHERE minute >= ? GROUP BY shape",  # noqa: S608
        (minute,),
    ):
        if row["searches"] or not only_searches:
            shapes[row["shape"]] = dict(row)
    buckets: dict[int, dict[int, int]] = defaultdict(dict)
    for row in connection.execute(
        "SELECT shape, bucket, sum(count) AS count FROM shape_durations WHERE minute >= ? GROUP BY shape, bucket",
        (minute,),
    ):
        buckets[row["shape"]][row["bucket"]] = row["count"]
    found = []
    for identifier, shape in shapes.items():
        known = connection.execute("SELECT * FROM shapes WHERE id = ?", (identifier,)).fetchone()
        if known is not None:
            found.append(
                {
                    **dict(known),
                    **shape,
                    "p50": quantile(buckets[identifier], 0.5),
                    "p95": quantile(buckets[identifier], 0.95),
                }
            )
    return found


def one(request: Request) -> Response:
    """The view of one shape."""
    window = parameters.window_of(request)
    with request.app.state.store.snapshot() as connection:
        shapes = connection.execute(
            "SELECT * FROM shapes WHERE hash = ? ORDER BY id LIMIT 20", (request.path_params["hash"],)
        ).fetchall()
        if not shapes:
            raise HTTPException(404)
        # The same text in several services or collections is several shapes of one hash.
        index = parameters.whole_number(request, "of") or 0
        shape = shapes[min(index, len(shapes) - 1)]
        minute = window.start() // 60
        totals = connection.execute(
            f"SELECT {_SUMS} FROM shape_minutes WHERE minute >= ? AND shape = ?",  # noqa: S608
            (minute, shape["id"]),
        ).fetchone()
        durations = connection.execute(
            "SELECT minute, bucket, count FROM shape_durations WHERE minute >= ? AND shape = ?", (minute, shape["id"])
        ).fetchall()
        examples = {
            "slowest": _examples(connection, shape["id"], "ORDER BY calls.duration DESC"),
            "without hits": _examples(connection, shape["id"], "AND calls.outcome = 'empty' ORDER BY calls.start DESC"),
            "partial or timed out": _examples(
                connection, shape["id"], "AND calls.outcome IN ('partial', 'timeout') ORDER BY calls.start DESC"
            ),
            "failed": _examples(connection, shape["id"], "AND calls.outcome = 'error' ORDER BY calls.start DESC"),
            "latest": _examples(connection, shape["id"], "ORDER BY calls.start DESC"),
        }
    counts = summed((row["bucket"], row["count"]) for row in durations)
    return render(
        request,
        "search.html",
        shape=shape,
        shapes=shapes,
        index=index,
        query=pretty(shape["query"]),
        totals=totals,
        quantiles=[quantile(counts, part) for part in (0.5, 0.95, 0.99)],
        chart=_chart(window, durations),
        examples={name: rows for name, rows in examples.items() if rows},
        window=window,
        windows=parameters.WINDOWS,
        parameters={"window": window.name, "of": index or None},
    )


def _examples(connection: sqlite3.Connection, shape: int, rest: str) -> list[sqlite3.Row]:
    return connection.execute(f"{_EXAMPLES} {rest} LIMIT :most", {"shape": shape, "most": _MOST_EXAMPLES}).fetchall()


def _chart(window: parameters.Window, durations: list[sqlite3.Row]) -> dict[str, Any]:
    step = max(window.step, 60)
    steps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in durations:
        steps[row["minute"] * 60 // step * step].append((row["bucket"], row["count"]))
    times = list(range(window.start() // step * step, window.start() + window.seconds + 1, step))
    lines = [
        (name, [_in_seconds(quantile(summed(steps[time]), part)) if time in steps else None for time in times], color)
        for name, part, color in (("p50", 0.5, "sky"), ("p95", 0.95, "blue"))
    ]
    return chart("shape", times, lines, "s")


def _in_seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
