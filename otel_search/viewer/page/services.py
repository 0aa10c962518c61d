"""The service map: who calls whom, how often, how slowly, with how many errors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_search.viewer.page import parameters
from otel_search.viewer.page.rendering import render
from otel_search.viewer.store.buckets import quantile

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

_MOST_NODES = 40
_MOST_LINKS = 2_000
_WIDTH, _HEIGHT = 230, 78  # of a node
_COLUMN, _ROW = 380, 112


@dataclass
class Traffic:
    """What goes into a node or along an edge."""

    count: int = 0
    errors: int = 0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, row: sqlite3.Row) -> None:
        """Add stored counts."""
        self.count += row["count"]
        self.errors += row["count"] if row["error"] else 0
        self.buckets[row["bucket"]] = self.buckets.get(row["bucket"], 0) + row["count"]

    @property
    def p95(self) -> float | None:
        """In nanoseconds."""
        return quantile(self.buckets, 0.95)


@dataclass
class Node:
    """A service, a database or another peer, and where it is drawn."""

    name: str
    kind: str
    traffic: Traffic = field(default_factory=Traffic)
    column: int = 0
    x: int = 0
    y: int = 0


def page(request: Request) -> Response:
    """The view."""
    window = parameters.window_of(request)
    start = window.start()
    with request.app.state.store.snapshot() as connection:
        nodes, edges = _graph(connection, window, start)
    width, height = _place(nodes, edges)
    return render(
        request,
        "map.html",
        nodes=list(nodes.values()),
        edges=[
            {
                "source": nodes[source],
                "target": nodes[target],
                "traffic": traffic,
                "path": _path(nodes[source], nodes[target]),
            }
            for (source, target), traffic in sorted(edges.items())
        ],
        busiest=max((traffic.count for traffic in edges.values()), default=1),
        size=(width, height),
        node=(_WIDTH, _HEIGHT),
        window=window,
        windows=parameters.WINDOWS,
        parameters={"window": window.name},
    )


def _graph(
    connection: sqlite3.Connection, window: parameters.Window, start: int
) -> tuple[dict[str, Node], dict[tuple[str, str], Traffic]]:
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], Traffic] = defaultdict(Traffic)
    for row in connection.execute(
        "SELECT service, error, bucket, sum(count) AS count FROM requests WHERE step = ? AND slot >= ?"
        " GROUP BY service, error, bucket",
        (window.slots, start),
    ):
        nodes.setdefault(row["service"], Node(row["service"], "service")).traffic.add(row)
    called = _called_services(connection, start)
    for row in connection.execute(
        "SELECT source, target, kind, error, bucket, sum(count) AS count FROM edges WHERE minute >= ?"
        " GROUP BY source, target, kind, error, bucket",
        (start // 60,),
    ):
        # A peer that is a service here goes by its name; an address that nobody answered for stays one.
        target = called.get((row["source"], row["target"]), row["target"])
        if len(nodes) >= _MOST_NODES and not {row["source"], target} <= set(nodes):
            continue
        nodes.setdefault(row["source"], Node(row["source"], "service"))
        node = nodes.setdefault(target, Node(target, row["kind"]))
        if target == row["target"]:
            node.traffic.add(row)
        edges[row["source"], target].add(row)
    return nodes, edges


def _called_services(connection: sqlite3.Connection, start: int) -> dict[tuple[str, str], str]:
    """Which service answered for an address: by the newest requests whose caller is known here."""
    found: dict[tuple[str, str], str] = {}
    for row in connection.execute(
        "SELECT caller.service AS source, answering.service AS target,"
        " json_extract(parent.attributes, '$.\"server.address\"') AS address,"
        " json_extract(parent.attributes, '$.\"server.port\"') AS port"
        " FROM (SELECT trace, parent_span_id, resource FROM spans WHERE start >= ?"
        " AND kind IN ('SERVER', 'CONSUMER') AND parent_span_id != '' ORDER BY start DESC LIMIT ?) AS child"
        " JOIN spans AS parent ON parent.trace = child.trace AND parent.span_id = child.parent_span_id"
        " JOIN resources AS caller ON caller.id = parent.resource"
        " JOIN resources AS answering ON answering.id = child.resource WHERE caller.service != answering.service",
        (start * parameters.SECOND, _MOST_LINKS),
    ):
        if row["address"]:
            peer = f"{row['address']}:{row['port']}" if row["port"] else str(row["address"])
            found.setdefault((row["source"], peer), row["target"])
    return found


def _place(nodes: dict[str, Node], edges: dict[tuple[str, str], Traffic]) -> tuple[int, int]:
    """Callers to the left of whom they call, in columns; a circle of callers does not go on for ever."""
    for _ in range(len(nodes)):
        moved = False
        for source, target in edges:
            if source != target and nodes[target].column <= nodes[source].column < 8:
                nodes[target].column = nodes[source].column + 1
                moved = True
        if not moved:
            break
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in sorted(nodes.values(), key=lambda node: (-node.traffic.count, node.name)):
        columns[node.column].append(node)
    tallest = max((len(column) for column in columns.values()), default=1)
    for position, number in enumerate(sorted(columns)):
        column = columns[number]
        top = (tallest - len(column)) * _ROW // 2
        for row, node in enumerate(column):
            node.x, node.y = 8 + position * _COLUMN, 8 + top + row * _ROW
    return (max(len(columns), 1) - 1) * _COLUMN + _WIDTH + 16, (tallest - 1) * _ROW + _HEIGHT + 16


def _path(source: Node, target: Node) -> dict[str, Any]:
    """A curve from the right side of one node to the left side of another."""
    x1, y1 = source.x + _WIDTH, source.y + _HEIGHT // 2
    x2, y2 = target.x, target.y + _HEIGHT // 2
    bend = max((x2 - x1) // 2, 40)
    return {
        "curve": f"M {x1} {y1} C {x1 + bend} {y1}, {x2 - bend} {y2}, {x2} {y2}",
        "x": (x1 + x2) // 2,
        "y": (y1 + y2) // 2,
    }
