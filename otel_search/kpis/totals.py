"""What KPIs are made of: a few sums, taken from metrics, that can be added and subtracted.

What counts how is decided here, once for all sources:

- A request is *failed* if the service answered 5xx, or raised and answered nothing. 404, 422, 429 and all of 4xx are
  *client errors*: the service did what it should. 499, and a client that left before it had its answer, are *aborted*.
- Health probes, `/metrics` and `/admin` are in no metric, and so in no KPI.
- A stream of events counts as a request and has no latency: how long it lasts is up to the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_search import semconv
from otel_search.metrics import Merged
from otel_search.metrics.names import label_name
from otel_search.metrics.snapshot import COUNTER, HISTOGRAM

Totals = dict[str, float]

OK, CLIENT_ERROR, FAILED, ABORTED = "ok", "client_error", "failed", "aborted"

_LEFT = ("ClientDisconnect", "CancelledError", "client_disconnected")


def of_merged(merged: Merged, sources: Iterable[str] = ()) -> Totals:
    """The sums in the metrics of all workers.

    Args:
        merged: The metrics.
        sources: Names of more metrics to sum up, for KPIs of the application's own.
    """
    totals: Totals = {}
    for name, add in ((semconv.HTTP_DURATION.name, add_request), (semconv.SEARCHES.name, add_search)):
        family = merged.families.get(name)
        # A view of the user's may have made something else of the metric.
        fits = family is not None and (family.kind == HISTOGRAM) is (add is add_request)
        for attributes, value in family.points.items() if family is not None and fits else ():
            labels = {label_name(key): text for key, text in attributes}
            if add is add_request:
                add_request(totals, labels, [*map(str, map(float, value[2])), "+Inf"], value[3])
            else:
                add_search(totals, labels, value[0])
    for name in sources:
        family = merged.families.get(name)
        if family is None or family.kind not in (COUNTER, HISTOGRAM):
            continue  # what also goes down cannot be counted by differences
        for value in family.points.values():
            if family.kind == HISTOGRAM:
                add_own(totals, name, value[0], value[1])
            else:
                add_own(totals, name, None, value[0])
    return totals


def add_request(totals: Totals, labels: Mapping[str, str], bounds: Iterable[str], counts: Iterable[float]) -> None:
    """Add requests of one kind, by the buckets of their durations (not cumulated)."""
    kind = kind_of(labels)
    counts = list(counts)
    _add(totals, f"http.{kind}", sum(counts))
    if labels.get("search_response_stream") != "true" and kind in (OK, FAILED):
        for bound, count in zip(bounds, counts, strict=True):
            if count:
                _add(totals, f"http.{kind}.le.{bound}", count)


def add_search(totals: Totals, labels: Mapping[str, str], count: float) -> None:
    """Add searches of one outcome."""
    _add(totals, f"search.{labels.get(label_name(semconv.OUTCOME), 'unknown')}", count)


def add_own(totals: Totals, source: str, count: float | None, total: float) -> None:
    """Add a measurement of the application's own: a counter, which has no `count`, or a histogram."""
    if count is not None:
        _add(totals, f"own.{source}.count", count)
    _add(totals, f"own.{source}.sum", total)


def kind_of(labels: Mapping[str, str]) -> str:
    """Whether requests with these labels are `ok`, `client_error`, `failed` or `aborted`."""
    status, error = labels.get("http_response_status_code", ""), labels.get("error_type", "")
    left = labels.get("search_client_left") == "true" and status < "500"
    if left or status == "499" or (not status and (not error or error.rpartition(".")[2] in _LEFT)):
        return ABORTED
    if not status or status >= "500":
        return FAILED
    return CLIENT_ERROR if status >= "400" else OK


def difference(later: Totals, earlier: Totals) -> Totals:
    """What has been counted between two moments; nothing is less than nothing, whoever has started anew."""
    return {name: max(0.0, value - earlier.get(name, 0.0)) for name, value in later.items()}


def buckets(totals: Totals, *kinds: str) -> list[tuple[float, float]]:
    """Requests by the upper bound of their duration, in seconds, ascending and not cumulated."""
    found: dict[float, float] = {}
    for name, value in totals.items():
        for kind in kinds:
            prefix = f"http.{kind}.le."
            if name.startswith(prefix):
                bound = float(name.removeprefix(prefix))
                found[bound] = found.get(bound, 0.0) + value
    return sorted(found.items())


def _add(totals: dict[str, Any], name: str, value: float) -> None:
    totals[name] = totals.get(name, 0.0) + value
