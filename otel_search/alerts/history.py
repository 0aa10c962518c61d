"""What has been seen of a few sums in the time that rules look back."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Any

_PRECISION = 100
"""Samples as old as a window are at most a hundredth of it apart, however long it is."""

_EXACT = 480


class Track:
    """One number over time: dense where it is young, sparse where it is old, and bounded.

    Args:
        seconds: How long it is looked back.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.times: list[float] = []
        self.values: list[float] = []
        self._thin_at = _EXACT

    def add(self, when: float, value: float) -> None:
        """Keep a sample that is younger than all others."""
        if self.times and when <= self.times[-1]:
            return
        self.times.append(when)
        self.values.append(value)
        # One that is as old as the window is kept, to begin with.
        old = bisect_right(self.times, when - self.seconds) - 1
        if old > 0:
            del self.times[:old], self.values[:old]
        if len(self.times) >= self._thin_at:
            self._thin(when)

    def last(self) -> float | None:
        """The youngest value."""
        return self.values[-1] if self.values else None

    def growth(self, now: float, seconds: float) -> float | None:
        """How much it has grown in the last `seconds`, or in less as long as there is less; `None` of one sample alone."""
        if len(self.times) < 2 or self.times[-1] <= now - seconds:
            return None
        begin = max(0, bisect_right(self.times, now - seconds) - 1)
        return self.values[-1] - self.values[begin]

    def mean(self, now: float, seconds: float) -> float | None:
        """The mean of the samples of the last `seconds`."""
        begin = bisect_right(self.times, now - seconds)
        values = self.values[begin:]
        return sum(values) / len(values) if values else None

    def _thin(self, now: float) -> None:
        times, values = [self.times[0]], [self.values[0]]
        for index in range(1, len(self.times) - 1):
            if self.times[index + 1] - times[-1] > (now - self.times[index]) / _PRECISION:
                times.append(self.times[index])
                values.append(self.values[index])
        self.times = [*times, self.times[-1]]
        self.values = [*values, self.values[-1]]
        self._thin_at = max(_EXACT, len(self.times) * 5 // 4)

    def state(self) -> list[Any]:
        """What `restore` needs, for JSON, which has no infinity."""
        if all(map(math.isfinite, self.values)):
            return [self.times, self.values]
        kept = [(when, value) for when, value in zip(self.times, self.values, strict=True) if math.isfinite(value)]
        return [[when for when, _ in kept], [value for _, value in kept]]

    def restore(self, state: Any) -> None:
        """Go on from what another process has left.

        Raises:
            ValueError: It is not what `state` returns.
        """
        times, values = state
        if len(times) != len(values) or any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("times and values do not fit")
        self.times, self.values = [float(when) for when in times], [float(value) for value in values]
