"""Several snapshots as one: what is counted is added, what is observed stays with its worker.

- Counters and histograms: the sum, over workers that have ended, too.
- Sums that go up and down, such as active requests and memory in use: the sum over living workers.
- Gauges: one series for each living worker, labelled `worker`, or one for all by a declared aggregation.
- `system.*` is the machine's, which all workers see alike: the greatest, once.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from otel_search.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM, Snapshot
from otel_search.metrics.turns import Turns

WORKER = "worker"

AGGREGATIONS: dict[str, Callable[[float, float], float]] = {
    "sum": lambda one, other: one + other,
    "max": max,
    "min": min,
    "last": lambda _, other: other,
}
GAUGES = {
    "search.health.status": "min",
    "search.memory.*": "max",
    "search.cpu.limit": "max",
    "search.cpu.utilization": "sum",
    "search.alerts.firing": "max",
}
"""How gauges of ours are told for all workers."""

Attributes = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """One metric.

    Attributes:
        points: The values, as in a snapshot, by attributes.
    """

    name: str
    unit: str
    description: str
    kind: str
    points: dict[Attributes, list[Any]] = field(default_factory=dict)


class Merged:
    """The metrics of a service.

    Args:
        gauges: Patterns of names of gauges and their aggregations, beside our own.

    Attributes:
        families: By name.
        resource: The attributes that all workers have in common.
    """

    def __init__(self, gauges: Iterable[tuple[str, str]] = ()) -> None:
        self.families: dict[str, Family] = {}
        self.resource: dict[str, str] | None = None
        self._gauges = [*gauges, *GAUGES.items()]

    def add(self, snapshot: Snapshot, *, living: bool = True, worker: str | None = None) -> None:
        """Add one worker's.

        Args:
            snapshot: What it has measured.
            living: Whether it still does: of those that have ended only what was counted remains.
            worker: What tells it from the others; `None` if there are none.
        """
        if living:
            resource = snapshot["resource"]
            known = resource if self.resource is None else self.resource
            self.resource = {key: value for key, value in known.items() if resource.get(key) == value}
        turns = Turns()
        for name, unit, description, kind, points in snapshot["families"]:
            of_machine = name.startswith("system.")
            if not living and (of_machine or kind not in (COUNTER, HISTOGRAM)):
                continue
            family = self.families.get(name)
            if family is not None and family.unit != unit:  # seconds and milliseconds do not add up
                name = f"{name} {unit}"  # noqa: PLW2901 - another metric from here on
                family = self.families.get(name)
            if family is None:
                family = self.families[name] = Family(name.partition(" ")[0], unit, description, kind)
            elif family.kind != kind:
                continue  # two instruments of one name: the first one's kind is the metric's
            aggregate = AGGREGATIONS["sum"]
            label = None
            if of_machine:
                aggregate = max
            elif kind == GAUGE:
                chosen = next((how for pattern, how in self._gauges if fnmatchcase(name, pattern)), None)
                aggregate, label = AGGREGATIONS[chosen or "last"], None if chosen else worker
            for attributes, value in points:
                turns.give()
                key = tuple((each[0], each[1]) for each in attributes)
                if label is not None:
                    key = (*key, (WORKER, label))
                known_value = family.points.get(key)
                if known_value is None:
                    family.points[key] = value
                elif kind == HISTOGRAM:
                    family.points[key] = _sum_of(known_value, value)
                else:
                    total = aggregate(known_value[0], value[0])
                    family.points[key] = [total, _later(known_value[1], value[1])]

    def counted(self) -> Snapshot:
        """What remains of it when all workers have ended, as a snapshot."""
        return {
            "resource": {},
            "families": [
                [
                    family.name,
                    family.unit,
                    family.description,
                    family.kind,
                    [[list(map(list, attributes)), value] for attributes, value in family.points.items()],
                ]
                for family in self.families.values()
            ],
        }


def _sum_of(one: list[Any], other: list[Any]) -> list[Any]:
    if one[2] != other[2]:
        # A view that only some workers have yet: what both can tell is told.
        common = sorted({*one[2]} & {*other[2]})
        one, other = _in_buckets(one, common), _in_buckets(other, common)
    return [
        one[0] + other[0],
        one[1] + other[1],
        one[2],
        [count + more for count, more in zip(one[3], other[3], strict=True)],
        [_later(first, second) for first, second in zip(one[4], other[4], strict=True)],
    ]


def _in_buckets(value: list[Any], bounds: list[float]) -> list[Any]:
    """A histogram with fewer buckets, whose bounds it has all."""
    counts = [0] * (len(bounds) + 1)
    exemplars: list[Any] = [None] * len(counts)
    for upper, count, exemplar in zip([*value[2], float("inf")], value[3], value[4], strict=True):
        place = bisect.bisect_left(bounds, upper)
        counts[place] += count
        exemplars[place] = _later(exemplars[place], exemplar)
    return [value[0], value[1], bounds, counts, exemplars]


def _later(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
    if one is None or other is None:
        return one or other
    return one if one[1] >= other[1] else other


def of(snapshots: Iterable[Mapping[str, Any]]) -> Snapshot:
    """What workers that have ended leave behind."""
    merged = Merged()
    for snapshot in snapshots:
        merged.add(dict(snapshot), living=False)
    return merged.counted()
