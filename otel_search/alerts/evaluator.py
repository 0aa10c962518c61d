"""Expressions computed in the process, from one snapshot after the other.

What Prometheus would compute from the same samples is computed here, but for two things: growth is
not extrapolated to the ends of its window, and a window that there is no full history of yet is
shorter. What has been seen in the window is in `watched`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_search.alerts.expression import (
    Absent,
    Arithmetic,
    Both,
    Comparison,
    Count,
    Expression,
    Gauge,
    Increase,
    Leaf,
    Number,
    Quantile,
    Resets,
    Series,
    leaves,
)
from otel_search.alerts.samples import Samples
from otel_search.alerts.saved import UnreadableError, mapping
from otel_search.alerts.watched import Group, Watched
from otel_search.metrics import Merged

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Value:
    """A value, and the trace of one request that has contributed to it, if one is known."""

    number: float
    trace: tuple[float, str, str] | None = None
    """Seconds since the epoch, trace id, span id."""


Values = dict[Group, Value]


class Evaluator:
    """Computes expressions.

    Args:
        expressions: All that will be asked for, each with the labels that make its groups.
    """

    def __init__(self, expressions: Iterable[tuple[Expression, tuple[str, ...]]]) -> None:
        self._samples = Samples()
        self._watched: dict[tuple[Any, ...], Watched] = {}
        for expression, by in expressions:
            for leaf in leaves(expression):
                watched = self._watch(leaf, by)
                watched.seconds = max(watched.seconds, leaf.seconds)

    def _watch(self, leaf: Leaf, by: tuple[str, ...]) -> Watched:
        by = tuple(sorted({*by, "le"} if isinstance(leaf, Quantile) else by))
        match leaf:
            case Increase() | Quantile():
                kind = "growth"
            case Resets():
                kind = "resets"
            case Gauge(how):
                kind = how
            case Count() | Absent():
                kind = "count"
        series = leaf.series if not leaf.series.alias else Series(leaf.series.name, leaf.series.any_of)
        key = (series, by, kind)
        if key not in self._watched:
            self._watched[key] = Watched(series, by, kind)
        return self._watched[key]

    def observe(self, now: float, merged: Merged, *, since_start: bool = False) -> None:
        """Look at a snapshot.

        Args:
            now: When it was taken, in seconds since the epoch.
            merged: The metrics of all workers.
            since_start: Whether all that it has counted was counted since the last look, because the server
                has started since. If not, the first look only says where counting begins.
        """
        self._samples.take(merged)
        for watched in self._watched.values():
            found = [sample for sample in self._samples.of(watched.series) if not math.isnan(sample.value)]
            watched.look(found, now, since_start=since_start)

    def evaluate(self, expression: Expression, by: tuple[str, ...], now: float) -> Values:
        """The value of each group that has one.

        Args:
            expression: One of those that were announced.
            by: Its labels.
            now: The moment of the last look.
        """
        match expression:
            case Number(value):
                return {(): Value(value)}
            case Arithmetic(op, left, right):
                return self._calculated(op, left, right, by, now)
            case Comparison(op, left, right):
                found = self.evaluate(left, by, now)
                return {group: value for group, value in found.items() if _COMPARE[op](value.number, right.value)}
            case Both(left, right):
                others = self.evaluate(right, by, now)
                return {group: value for group, value in self.evaluate(left, by, now).items() if group in others}
            case _:
                return self._leaf(expression, by, now)

    def _calculated(self, op: str, left: Expression, right: Expression, by: tuple[str, ...], now: float) -> Values:
        one, other = self.evaluate(left, by, now), self.evaluate(right, by, now)
        # A constant goes with each group.
        if isinstance(left, Number):
            one = dict.fromkeys(other, Value(left.value))
        if isinstance(right, Number):
            other = dict.fromkeys(one, Value(right.value))
        found = {}
        for group, value in one.items():
            if group in other:
                number = _calculate(op, value.number, other[group].number)
                found[group] = Value(number, value.trace or other[group].trace)
        return found

    def _leaf(self, leaf: Leaf, by: tuple[str, ...], now: float) -> Values:
        watched = self._watch(leaf, by)
        match leaf:
            case Increase(_, seconds) | Resets(_, seconds):
                return {
                    group: Value(growth, _recent(watched.traces.get(group), now - seconds))
                    for group, track in watched.tracks.items()
                    if (growth := track.growth(now, seconds)) is not None
                }
            case Quantile(share, _, seconds):
                return _quantiles(watched, share, now, seconds)
            case Gauge(_, _, 0):
                return {
                    group: Value(track.values[-1]) for group, track in watched.tracks.items() if track.times[-1] >= now
                }
            case Gauge(_, _, seconds):
                return {
                    group: Value(mean)
                    for group, track in watched.tracks.items()
                    if (mean := track.mean(now, seconds)) is not None
                }
            case Absent(_, seconds):
                there = any(when > now - seconds for when in watched.last.values())
                return {} if there else {(): Value(1.0)}
        counted: dict[Group, float] = {}
        for key, when in watched.last.items():
            if when > now - leaf.seconds or when == now:
                group = watched.groups[key]
                counted[group] = counted.get(group, 0.0) + 1
        return {group: Value(count) for group, count in counted.items()}

    def take_over(self, earlier: Evaluator) -> None:
        """Go on from one with other expressions."""
        for key, watched in self._watched.items():
            known = earlier._watched.get(key)
            if known is not None:
                known.look_back(max(watched.seconds, known.seconds))
                self._watched[key] = known

    def state(self) -> dict[str, Any]:
        """What a process that goes on needs, for JSON."""
        return {watched.name: watched.state() for watched in self._watched.values() if watched.is_kept}

    def restore(self, state: Any) -> None:
        """Go on from what another process has left; what is not watched any more is left out.

        Raises:
            UnreadableError: It is not what `state` returns; nothing of it counts then.
        """
        left = mapping("the evaluator's part", state)
        found = []
        for watched in self._watched.values():
            if watched.is_kept and watched.name in left:
                try:
                    found.append((watched, watched.restored(left[watched.name])))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    what = f"{type(error).__name__}: {error}"
                    raise UnreadableError(f"the sums of {watched.name!r} do not fit: {what}") from error
        for watched, (tracks, last) in found:
            watched.tracks, watched.last = tracks, last


def _recent(trace: tuple[float, str, str] | None, begin: float) -> tuple[float, str, str] | None:
    return trace if trace is not None and trace[0] >= begin else None


def _calculate(op: str, left: float, right: float) -> float:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right == 0:
        # As floating point has it, and Prometheus: nothing of nothing is no number.
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return left / right


def _quantiles(watched: Watched, share: float, now: float, seconds: float) -> Values:
    groups: dict[Group, dict[float, float]] = {}
    traces: dict[Group, tuple[float, tuple[float, str, str]]] = {}
    for labelled, track in watched.tracks.items():
        growth = track.growth(now, seconds)
        if growth is None:
            continue
        labels = dict(labelled)
        bound = float(labels.pop("le"))
        group = tuple(labels.items())
        groups.setdefault(group, {})[bound] = growth
        trace = _recent(watched.traces.get(labelled), now - seconds)
        if trace is not None and bound >= traces.get(group, (0.0,))[0]:
            traces[group] = (bound, trace)  # of the slowest that is known
    return {
        group: Value(quantile(share, buckets), traces[group][1] if group in traces else None)
        for group, buckets in groups.items()
    }


def quantile(share: float, buckets: Mapping[float, float]) -> float:
    """A quantile, interpolated within its bucket, as Prometheus' `histogram_quantile` does.

    Args:
        share: 0 to 1.
        buckets: How many values are at most as large as each bound.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not math.isinf(bounds[-1]) or buckets[bounds[-1]] <= 0:
        return math.nan
    rank = share * buckets[bounds[-1]]
    index = next((i for i, bound in enumerate(bounds) if buckets[bound] >= rank), len(bounds) - 1)
    if index == len(bounds) - 1:
        return bounds[-2]
    if index == 0 and bounds[0] <= 0:
        return bounds[0]
    lower, below = (0.0, 0.0) if index == 0 else (bounds[index - 1], buckets[bounds[index - 1]])
    here = buckets[bounds[index]] - below
    return lower + (bounds[index] - lower) * (rank - below) / here if here > 0 else lower
