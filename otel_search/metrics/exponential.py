"""Exponential histograms as histograms with buckets: the text formats know no others.

Number and sum are exact. A bucket of the exponential histogram counts where its upper end lies, so that a
quantile is too high by the width of such a bucket at most, of which there are 160.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any

from otel_search import semconv

_OF_OURS = {metric.name: metric.buckets for metric in semconv.METRICS if metric.buckets is not None}
# The SDK's own, for units that are not seconds.
_USUAL = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)
# What is that close below an upper end is that end: powers are not exact.
_ALMOST = 1 - 1e-9


def bounds_of(name: str, unit: str) -> tuple[float, ...]:
    """The upper bounds of the buckets that a metric has, or would have: those of the schema, or usual ones."""
    return _OF_OURS.get(name) or (semconv.DURATION_BUCKETS if unit == "s" else _USUAL)


def counts_of(point: Any, bounds: Sequence[float], least: Sequence[float] = ()) -> list[int]:
    """The counts by bucket, not cumulated.

    Args:
        point: The SDK's data point.
        bounds: Upper bounds of the buckets wanted, ascending.
        least: What was told before, cumulated: no bucket tells less, although the SDK has made its own ones wider.
    """
    counts = [0] * (len(bounds) + 1)
    for upper, count in _buckets(point):
        counts[bisect.bisect_left(bounds, upper)] += count
    if least and least[-1] <= point.count:  # else it has begun anew
        below = told = 0
        for place, count in enumerate(counts):
            below += count
            cumulated = min(int(point.count), max(below, int(least[place]), told))
            counts[place], told = cumulated - told, cumulated
    return counts


def _buckets(point: Any) -> Iterator[tuple[float, int]]:
    # Of positive values alone: the SDK's histograms take no others.
    base = 2.0 ** (2.0**-point.scale)
    if point.zero_count:
        yield 0.0, point.zero_count
    for place, count in enumerate(point.positive.bucket_counts):
        if count:
            yield _power(base, point.positive.offset + place + 1) * _ALMOST, count


def _power(base: float, exponent: int) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return float("inf")
