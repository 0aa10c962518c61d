"""KPIs of the whole fleet, from Prometheus: the same sums, asked for by PromQL."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

import orjson

from otel_search import semconv
from otel_search.kpis.totals import Totals, add_own, add_request, add_search
from otel_search.metrics.names import metric_name
from otel_search.metrics.snapshot import HISTOGRAM

_SECONDS = 5.0

_DURATION = metric_name(semconv.HTTP_DURATION.name, "s", "histogram")[0]
_SEARCHES = f"{metric_name(semconv.SEARCHES.name, semconv.SEARCHES.unit, 'counter')[0]}_total"


Own = Iterable[tuple[str, str, str]]


def totals(url: str, seconds: float, selector: str = "", own: Own = (), at: float | None = None) -> Totals:
    """What all instances have counted in the last `seconds`; exact to Prometheus' extrapolation at the window's ends.

    Args:
        url: Prometheus' address.
        seconds: The window.
        selector: Label matchers such as `job="shop"`.
        own: More metrics to sum up: name, unit and kind, as in a snapshot.
        at: The window's end, in seconds since the epoch; now if not given.

    Raises:
        OSError: It cannot be reached.
        ValueError: Its answer is not what was asked for.
    """
    found: Totals = {}
    window = f"{{{selector}}}[{max(1, round(seconds))}s]"
    by = "http_response_status_code, error_type, search_response_stream, search_client_left"
    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for labels, value in _query(url, f"sum by (le, {by}) (increase({_DURATION}_bucket{window}))", at):
        bound = float(labels.pop("le", "+Inf"))
        series.setdefault(tuple(sorted(labels.items())), []).append((bound, value))
    for key, cumulated in series.items():
        cumulated.sort()
        below, bounds, counts = 0.0, [], []
        for bound, count in cumulated:
            bounds.append("+Inf" if bound == float("inf") else str(bound))
            counts.append(max(0.0, count - below))
            below = count
        add_request(found, dict(key), bounds, counts)
    for labels, value in _query(url, f"sum by (search_outcome) (increase({_SEARCHES}{window}))", at):
        add_search(found, labels, value)
    for source, unit, kind in own:
        name = metric_name(source, unit, kind)[0]
        suffixes = ("_sum", "_count") if kind == HISTOGRAM else ("_total",)
        asked = [_query(url, f"sum(increase({name}{suffix}{window}))", at) for suffix in suffixes]
        if all(asked):
            values = [rows[0][1] for rows in asked]
            add_own(found, source, values[1] if kind == HISTOGRAM else None, values[0])
    return found


def present(url: str, selector: str = "", at: float | None = None) -> dict[str, float]:
    """Present values of gauges, by the names of their metrics: those of the instance that is worst off."""
    matchers = ", ".join(filter(None, [selector, 'search_health_component=~"elasticsearch.*"']))
    asked = {
        semconv.CPU_UTILIZATION: f"max(search_cpu_utilization_ratio{{{selector}}})",
        semconv.MEMORY_UTILIZATION: f"max(search_memory_utilization_ratio{{{selector}}})",
        semconv.HEALTH_STATUS: f"min(search_health_status_ratio{{{matchers}}})",
    }
    return {metric.name: value for metric, expression in asked.items() for _, value in _query(url, expression, at)}


def _query(url: str, expression: str, at: float | None) -> list[tuple[dict[str, str], float]]:
    parameters = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
    address = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(address, timeout=_SECONDS) as response:  # noqa: S310 - its scheme was checked
        answer: Any = orjson.loads(response.read())
    if answer.get("status") != "success":
        raise ValueError(f"Prometheus answers {answer.get('error', 'nothing of use')}")
    return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]
