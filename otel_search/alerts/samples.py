"""Series of a snapshot under the names that `/metrics` gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from otel_search.alerts.expression import Series
from otel_search.metrics import Merged
from otel_search.metrics.exposition import labels_of
from otel_search.metrics.merging import Family
from otel_search.metrics.names import metric_name
from otel_search.metrics.snapshot import COUNTER, HISTOGRAM

_MAX_KNOWN = 50_000

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """The value of one series at one moment.

    Attributes:
        key: Tells the series from others of the same name.
        exemplar: `[value, seconds since the epoch, trace id, span id]`, if there is one.
    """

    key: Key
    labels: Mapping[str, str]
    value: float
    exemplar: list[Any] | None


class Samples:
    """Reads series out of snapshots, one snapshot after the other."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._labels: dict[Any, dict[str, str]] = {}
        self._meant: dict[tuple[Series, Key], bool] = {}

    def take(self, merged: Merged) -> None:
        """Read from this snapshot from now on."""
        self._families = {}
        for family in merged.families.values():
            name, _ = metric_name(family.name, family.unit, family.kind)
            if family.kind == HISTOGRAM:
                for part in ("_bucket", "_count", "_sum"):
                    self._families.setdefault(name + part, family)
            else:
                self._families.setdefault(name + ("_total" if family.kind == COUNTER else ""), family)
        # What is remembered is bounded by the number of series, which change rarely.
        if len(self._labels) > _MAX_KNOWN or len(self._meant) > _MAX_KNOWN:
            self._labels, self._meant = {}, {}

    def of(self, series: Series) -> Iterator[Sample]:
        """The series that are meant; of buckets, one for each bound, counting all below it."""
        if not series.name:
            families = {id(family): family for family in self._families.values()}.values()
        else:
            family = self._families.get(series.name)
            families = {0: family}.values() if family is not None else {}.values()
        for family in families:
            for attributes, value in family.points.items():
                labels = self._labels.get(attributes)
                if labels is None:
                    labels = self._labels[attributes] = labels_of(attributes)
                asked = (series, attributes)
                meant = self._meant.get(asked)
                if meant is None:
                    meant = self._meant[asked] = series.accepts(labels)
                if meant:
                    yield from _samples(series.name, attributes, labels, value)


def _samples(name: str, key: Key, labels: dict[str, str], value: list[Any]) -> Iterator[Sample]:
    if len(value) == 2:
        yield Sample(key, labels, float(value[0]), value[1])
        return
    count, total, bounds, counts, exemplars = value
    if not name.endswith("_bucket"):
        latest = max((each for each in exemplars if each is not None), key=lambda each: each[1], default=None)
        yield Sample(key, labels, float(total if name.endswith("_sum") else count), latest)
        return
    below = 0
    for bound, here, exemplar in zip([*map(float, bounds), "+Inf"], counts, exemplars, strict=True):
        below += here
        le = str(bound)
        yield Sample((*key, ("le", le)), {**labels, "le": le}, float(below), exemplar)
