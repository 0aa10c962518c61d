"""Durations in buckets that are a tenth apart: small enough to add up, fine enough for percentiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

WIDTH = 1.1
"""A bucket's upper bound, as a multiple of its lower one: a percentile is at most 5 % off."""

_LOG_WIDTH = math.log(WIDTH)


def bucket_of(duration: int) -> int:
    """The bucket of a duration in nanoseconds."""
    return math.ceil(math.log(duration) / _LOG_WIDTH) if duration > 1 else 0


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """The duration in nanoseconds that `part` of the counted ones are within, or `None` for none.

    The geometric middle of its bucket.
    """
    needed = part * sum(counts.values())
    if needed <= 0:
        return None
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= needed:
            return float(WIDTH ** (bucket - 0.5))
    return None


def quantile_of_histogram(bounds: Sequence[float], buckets: Sequence[float], part: float) -> float | None:
    """A percentile of an explicit-bucket histogram, linear within its bucket as Prometheus has it."""
    needed = part * sum(buckets)
    if needed <= 0 or not bounds:
        return None
    seen = 0.0
    for position, count in enumerate(buckets):
        if count and seen + count >= needed:
            if position >= len(bounds):
                return bounds[-1]
            lower = bounds[position - 1] if position else min(0.0, bounds[0])
            return lower + (bounds[position] - lower) * (needed - seen) / count
        seen += count
    return bounds[-1]


def summed(rows: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Buckets with their counts added up."""
    counts: dict[int, int] = {}
    for bucket, count in rows:
        counts[bucket] = counts.get(bucket, 0) + count
    return counts
