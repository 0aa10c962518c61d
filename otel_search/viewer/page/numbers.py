"""Stored points as what a person wants to know of them: values, rates and percentiles over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from otel_search.viewer.store.buckets import quantile_of_histogram

if TYPE_CHECKING:
    import sqlite3

SECOND = 1_000_000_000
_MOST_SERIES = 300


@dataclass(frozen=True)
class Change:
    """What one export added to a series: at a time, since the one before it.

    Attributes:
        value: Of a gauge its value; of all others the increase.
        count: How many measurements of a histogram.
    """

    time: int
    since: int
    value: float
    count: int
    bounds: Sequence[float]
    buckets: Sequence[float]


@dataclass(frozen=True)
class Series:
    """One time series with its points of a window, oldest first.

    Attributes:
        level: Whether a point is a value at its time, and not a sum since some start.
    """

    id: int
    service: str
    instance: str
    attributes: dict[str, Any]
    level: bool
    points: list[sqlite3.Row]

    def changes(self) -> Iterable[Change]:
        """What each export added; the first one of a cumulative series has nothing to compare with."""
        before: sqlite3.Row | None = None
        for point in self.points:
            buckets = orjson.loads(point["buckets"])
            bounds = orjson.loads(point["bounds"])
            value, count, since = point["value"], point["count"], point["start"]
            if self.level:
                yield Change(point["time"], since, value, count, bounds, buckets)
                continue
            if before is not None and point["temporality"] == "CUMULATIVE":
                since = before["until"]
                # A restart begins at zero again: then all of it is new.
                if point["start"] <= before["until"] and value >= before["value"] and count >= before["count"]:
                    earlier = orjson.loads(before["buckets"])
                    value, count = value - before["value"], count - before["count"]
                    if len(earlier) == len(buckets):
                        buckets = [new - old for new, old in zip(buckets, earlier, strict=True)]
            before = point
            yield Change(point["time"], since, value, count, bounds, buckets)


def series_of(connection: sqlite3.Connection, metric: sqlite3.Row, start: int) -> list[Series]:
    """The series of a metric that have a point since `start` (nanoseconds), the newest first."""
    level = metric["kind"] == "gauge" or (metric["kind"] == "sum" and not metric["monotonic"])
    found = []
    for row in connection.execute(
        "SELECT series.id, series.attributes, resources.service, resources.instance FROM series"
        " LEFT JOIN resources ON resources.id = series.resource WHERE metric = ? AND series.last >= ?"
        " ORDER BY series.last DESC, series.id LIMIT ?",
        (metric["id"], start, _MOST_SERIES),
    ).fetchall():
        points = connection.execute(
            "SELECT *, ?3 AS temporality FROM points WHERE series = ?1 AND time >= coalesce("
            "(SELECT time FROM points WHERE series = ?1 AND time < ?2 ORDER BY time DESC LIMIT 1), ?2) ORDER BY time",
            (row["id"], start, metric["temporality"]),
        ).fetchall()
        if points:
            found.append(
                Series(
                    row["id"],
                    row["service"] or "",
                    row["instance"] or "",
                    orjson.loads(row["attributes"]),
                    level,
                    points,
                )
            )
    return found


def levels(series: Iterable[Series], times: Sequence[int], step: int) -> list[float | None]:
    """The sum of several series' values at each step; `None` where none has one."""
    sums: list[float | None] = [None] * len(times)
    for one in series:
        position = 0
        points = one.points
        for index, time in enumerate(times):
            end = (time + step) * SECOND
            while position + 1 < len(points) and points[position + 1]["time"] < end:
                position += 1
            point = points[position]
            # A point counts until the newest export that said the same, and for some steps after it.
            if point["time"] < end and point["until"] >= (time - 2 * max(step, 60)) * SECOND:
                sums[index] = (sums[index] or 0.0) + point["value"]
    return sums


@dataclass
class Step:
    """What happened in one step of a chart."""

    value: float = 0.0
    count: int = 0

    def __post_init__(self) -> None:
        self.bounds: Sequence[float] = ()
        self.buckets: list[float] = []

    def add(self, change: Change) -> None:
        """Add a change of a series."""
        self.value += change.value
        self.count += change.count
        if not self.buckets:
            self.bounds, self.buckets = change.bounds, list(change.buckets)
        elif self.bounds == change.bounds:
            self.buckets = [old + new for old, new in zip(self.buckets, change.buckets, strict=False)]

    def quantile(self, part: float) -> float | None:
        """A percentile of its histogram."""
        return quantile_of_histogram(self.bounds, self.buckets, part)


def steps_of(series: Iterable[Series], start: int, step: int) -> dict[int, Step]:
    """What several series' changes come to in each step, by its beginning in seconds."""
    found: dict[int, Step] = defaultdict(Step)
    for one in series:
        for number, change in enumerate(one.changes()):
            # What a series had before the first point that is known here is of no known time.
            if number == 0 and (change.time < start * SECOND or change.since < start * SECOND):
                continue
            found[change.time // SECOND // step * step].add(change)
    return found
