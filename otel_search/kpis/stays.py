"""Sessions as stays: from a first to a last request, with no long gap between."""

from __future__ import annotations

from collections.abc import Iterable

IDLE_GAP = 1800.0
"""Seconds without a request after which a session has ended."""
LONGEST = 4 * 3600.0
"""Seconds by which a stay may have begun before the window: what lies before that is not seen."""

Stay = tuple[float, float]
"""The first and the last request of a session, or of a part of it."""


def joined(*several: Iterable[Stay]) -> list[Stay]:
    """Parts of a session put together: what lies no more than the idle gap apart is one."""
    found: list[Stay] = []
    for first, last in sorted(stay for stays in several for stay in stays):
        if found and first - found[-1][1] <= IDLE_GAP:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def mean_length(sessions: Iterable[Iterable[Stay]], start: float) -> float | None:
    """How long the stays of some sessions last in the mean, of those that have a request since `start`."""
    lengths = [last - first for stays in sessions for first, last in stays if last >= start]
    return sum(lengths) / len(lengths) if lengths else None
