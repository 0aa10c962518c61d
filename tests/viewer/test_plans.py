"""No page reads a table from end to end: each query that it makes is planned by index.

Nothing is timed here; `benchmarks/viewer.py` measures.
"""

from __future__ import annotations

import re
import sqlite3

import pytest

from otel_search.viewer.store import Store
from tests.viewer.telemetry import counter, gauge, histogram, lines, search

# Tables that grow with the traffic. The others have a row for each service, shape, metric or series.
GROWING = (
    "traces",
    "spans",
    "calls",
    "logs",
    "points",
    "exemplars",
    "requests",
    "edges",
    "shape_minutes",
    "shape_durations",
)
SCAN = re.compile(rf"SCAN ({'|'.join(GROWING)}|parent|child|m)\b(?! USING (COVERING )?INDEX)")
# The newest rows in the order of their index, and never further than a limit.
BOUNDED = re.compile(r"ORDER BY (id|start|duration|rowid)( DESC)?\s+LIMIT", re.IGNORECASE)

PAGES = (
    "/?window=15m", "/?window=24h&service=shop", "/traces", "/traces?q=shoes", "/traces?route=/products/search",
    "/traces?service=shop&status=2xx", "/traces?status=500", "/traces?outcome=errors", "/traces?outcome=empty",
    "/traces?outcome=any", "/traces?min=100", "/traces?sort=slowest&min=10", "/traces?before=1000", "/searches",
    "/searches?window=24h&kind=all", "/searches/00000000c0ffee00", "/logs", "/logs?q=found&level=error",
    "/logs?logger=shop.search", "/logs?level=warning", "/logs?service=shop", "/logs?before=5", "/logs/tail?after=1",
    "/metrics", "/metrics/http.server.request.duration", "/metrics/search.client.searches?window=24h", "/health",
    "/map", "/map?window=24h",
)  # fmt: skip


@pytest.fixture(scope="module")
def planned(shared):
    """A viewer that notes the plan of every query that it makes."""
    identifier, request = search()
    shared.send(
        request,
        search(more={"search.outcome": "empty"})[1],
        search(status=500)[1],
        lines("found", trace=identifier),
        histogram([1, 0, 0, 0], exemplar=identifier),
        counter(1, name="search.client.searches"),
        gauge(1, **{"search.health.component": "memory"}),
    )
    queries: set[str] = set()
    original = Store.read

    def read(store):
        connection = original(store)
        connection.set_trace_callback(queries.add)
        return connection

    Store.read = read
    yield shared, queries, identifier
    Store.read = original


def plan_of(store, query):
    connection = sqlite3.connect(store.path)
    try:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    finally:
        connection.close()


@pytest.mark.parametrize("path", [*PAGES, "/traces/{trace}", "/logs?trace={trace}"])
def test_a_page_reads_by_index(planned, path):
    running, queries, identifier = planned
    queries.clear()
    running.page(path.format(trace=identifier))
    asked = [query for query in queries if query.startswith("SELECT")]
    assert asked
    for query in asked:
        for step in plan_of(running.viewer.store, query):
            assert not SCAN.search(step) or BOUNDED.search(query), f"{step}\n{query}"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "SCAN traces USING INDEX traces_by_start"),
        ("sort=slowest", "SCAN traces USING INDEX traces_by_duration"),
        ("route=/products/search", "SEARCH traces USING INDEX traces_by_route (route=?)"),
        ("service=shop", "SEARCH traces USING INDEX traces_by_service (service=?)"),
        ("status=5xx", "SEARCH traces USING COVERING INDEX traces_by_status (status>? AND status<?)"),
        ("min=900", "SEARCH traces USING COVERING INDEX traces_by_duration (duration>?)"),
        ("outcome=errors", "SCAN traces USING INDEX traces_with_errors"),
        ("outcome=any", "SCAN traces USING INDEX traces_with_findings"),
        ("outcome=empty", "SEARCH traces USING INDEX traces_by_finding (finding=?)"),
        ("q=shoes", "SEARCH traces USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_each_filter_of_traces_has_an_index(planned, query, index):
    running, queries, _ = planned
    queries.clear()
    running.page(f"/traces?{query}")
    (asked,) = (query for query in queries if query.startswith("SELECT id, trace_id"))
    assert index in plan_of(running.viewer.store, asked)


def test_what_writes_and_deletes_reads_by_index(shared):
    store = shared.viewer.store
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    shared.send(search()[1], lines("line"), gauge(3), histogram([2, 0, 0, 0]))
    with store._changed:  # the writer waits meanwhile
        store._transaction(store._retention.delete_oldest)
        store._connection.set_trace_callback(None)
    checked = 0
    for statement in statements:
        if statement.split(" ", 1)[0] not in ("INSERT", "UPDATE", "DELETE", "SELECT") or "_words" in statement:
            continue
        for step in plan_of(store, statement):
            assert not SCAN.search(step) or BOUNDED.search(statement), f"{step}\n{statement}"
        checked += 1
    assert checked > 20
