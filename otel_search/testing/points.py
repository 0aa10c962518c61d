"""Several looks at a metric within one test, put together to one point for each time series."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from otel_search.viewer.telemetry import MetricPoint

Series = dict[tuple[str, str, str], MetricPoint]


def add(series: Series, points: Iterable[MetricPoint]) -> None:
    """Add the points of one more look.

    Args:
        series: What was seen so far, which is changed.
        points: What was measured since then, or, of gauges and up-down counters, how they are now.
    """
    for point in points:
        key = (point.scope, point.name, repr(sorted(point.attributes.items())))
        before = series.get(key)
        series[key] = point if before is None or point.temporality != "DELTA" else _sum(before, point)


def _sum(before: MetricPoint, point: MetricPoint) -> MetricPoint:
    buckets = before.buckets
    if len(before.buckets) == len(point.buckets):
        buckets = tuple(a + b for a, b in zip(before.buckets, point.buckets, strict=True))
    return dataclasses.replace(
        point,
        start=before.start,
        value=before.value + point.value,
        count=before.count + point.count,
        buckets=buckets,
        exemplars=before.exemplars + point.exemplars,
    )
