"""`/metrics`: the text that Prometheus reads, in its own format and in OpenMetrics.

The text itself is prometheus_client's work. What is told is built from the SDK's data and not by
OpenTelemetry's Prometheus exporter, which mixes up the labels of two scopes with one metric, has no
exemplars and knows one process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import exposition
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Exemplar, Sample

from otel_search.metrics.merging import Attributes, Family, Merged
from otel_search.metrics.names import label_name, metric_name
from otel_search.metrics.snapshot import COUNTER, HISTOGRAM
from otel_search.metrics.turns import Turns

__all__ = ["TEXT", "content_type", "labels_of", "render"]

_logger = logging.getLogger("otel_search.metrics")

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_TYPES = {COUNTER: "counter", HISTOGRAM: "histogram"}
_IDENTITY = frozenset({"service.name", "service.namespace", "service.instance.id"})


def content_type(accept: str) -> str:
    """The format to answer in.

    Args:
        accept: The request's `Accept`.

    Returns:
        OpenMetrics if it is wanted more than plain text, else plain text, which every reader knows.
    """
    wanted = {"application/openmetrics-text": 0.0, "text/plain": 0.0, "*/*": 0.0}
    for kind, values in _entries(accept):
        if kind in wanted and values.get("version", "1.0.0") in ("0.0.1", "0.0.4", "1.0.0"):
            wanted[kind] = max(wanted[kind], _quality(values.get("q", "1")))
    plain = max(wanted["text/plain"], wanted["*/*"])
    metrics = wanted["application/openmetrics-text"]
    return OPENMETRICS if metrics > 0 and metrics >= plain else TEXT


def quality_of(coding: str, accept_encoding: str) -> float:
    """How much a coding is wanted, 0 for not at all.

    Args:
        coding: Such as `gzip`.
        accept_encoding: The request's `Accept-Encoding`.
    """
    return max(
        (_quality(values.get("q", "1")) for name, values in _entries(accept_encoding) if name == coding), default=0
    )


def _entries(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What a header lists, in lower case, each with its parameters."""
    for entry in header[:1000].lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip(' "') for key, _, value in pairs}


def render(merged: Merged, kind: str) -> bytes:
    """The metrics as text.

    Args:
        merged: Of all workers.
        kind: A result of `content_type`.
    """
    families = _Families(merged)
    if kind == OPENMETRICS:
        text: bytes = generate_openmetrics(families)
    else:
        text = exposition.generate_latest(families)
    return text


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


class _Families:
    """What prometheus_client calls a registry: it is only asked for what it has."""

    def __init__(self, merged: Merged) -> None:
        self._merged = merged

    def collect(self) -> Iterator[Metric]:
        info = Metric("target", "Target metadata", "info")
        labels = {key: value for key, value in (self._merged.resource or {}).items() if key not in _IDENTITY}
        info.add_sample("target_info", labels_of(labels.items()), 1)
        yield info
        taken: dict[str, Family] = {}
        turns = Turns()
        for family in self._merged.families.values():
            name, unit = metric_name(family.name, family.unit, family.kind)
            first = taken.setdefault(name, family)
            if first is family:
                yield _metric(family, name, unit, turns)
            else:
                _logger.debug("/metrics leaves %s out: %s has its name", family.name, first.name)


def _metric(family: Family, name: str, unit: str, turns: Turns) -> Metric:
    description = " ".join(family.description.split()) or f"OpenTelemetry metric {family.name}."
    metric = Metric(name, description, _TYPES.get(family.kind, "gauge"), unit)
    # Gone through once, so they need not all be there at once.
    metric.samples = _samples(family, name, turns)  # type: ignore[assignment]
    return metric


def _samples(family: Family, name: str, turns: Turns) -> Iterator[Sample]:
    seen: set[tuple[tuple[str, str], ...]] = set()
    for attributes, value in family.points.items():
        turns.give()
        labels = labels_of(attributes)
        key = tuple(sorted(labels.items()))
        if key in seen:
            continue  # two sets of attributes that differ only in what a label cannot be called
        seen.add(key)
        if family.kind == HISTOGRAM:
            yield from _of_histogram(name, labels, value)
        elif family.kind == COUNTER:
            yield Sample(f"{name}_total", labels, value[0], None, _exemplar(value[1]))
        else:
            yield Sample(name, labels, value[0])


def _of_histogram(name: str, labels: dict[str, str], value: list[Any]) -> Iterator[Sample]:
    count, total, bounds, counts, exemplars = value
    below = 0
    for bound, here, exemplar in zip([*map(float, bounds), "+Inf"], counts, exemplars, strict=True):
        below += here
        yield Sample(f"{name}_bucket", {**labels, "le": str(bound)}, below, None, _exemplar(exemplar))
    yield Sample(f"{name}_count", labels, count)
    yield Sample(f"{name}_sum", labels, total)


def _exemplar(found: list[Any] | None) -> Exemplar | None:
    return None if found is None else Exemplar({"trace_id": found[2], "span_id": found[3]}, found[0], found[1])


def labels_of(attributes: Iterable[tuple[str, str]] | Attributes) -> dict[str, str]:
    """The labels of a series with these attributes; attributes that cannot be told apart as labels are joined."""
    labels: dict[str, str] = {}
    for key, value in attributes:
        name = label_name(key)
        labels[name] = f"{labels[name]};{value}" if name in labels else value
    return labels
