"""The KPIs: each with its formula, which is shown beside its value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from otel_search import semconv
from otel_search.kpis import visits
from otel_search.kpis.totals import ABORTED, CLIENT_ERROR, FAILED, OK, Totals, buckets

_BOUNDS = (0.0, *semconv.DURATION_BUCKETS)
_MAX_OWN = 100

Kind = Literal["count", "rate", "mean"]


@dataclass(frozen=True)
class Seen:
    """What KPIs are computed from.

    Attributes:
        totals: What was counted in the window.
        seconds: The length of the window.
        apdex_threshold: Seconds up to which a request satisfies.
        now: Present values by name; what is not known is not there.
        visits: KPIs on those who came, by name; what is not known is not there.
        reasons: Why a KPI is not known, by name, if it is not.
        missing: KPIs that the source knows nothing of, with the reason.
    """

    totals: Totals
    seconds: float
    apdex_threshold: float
    now: Mapping[str, float]
    visits: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def of(self, *names: str) -> float:
        """The sum of some totals."""
        return sum(self.totals.get(name, 0.0) for name in names)


@dataclass(frozen=True)
class Definition:
    """One KPI.

    Attributes:
        compute: Its value, or `None` if it is not known.
        formula: In words, as it is shown.
        unknown: Why it is not known, if it is not.
    """

    name: str
    unit: str
    formula: str
    compute: Callable[[Seen], Any]
    unknown: str = "there was nothing to measure in the window"


class Kpi:
    """A KPI of the application's own, from a metric of its own, declared once: `Kpi("orders", "rate", "{order}", "shop.orders")`.

    Args:
        name: As it is shown.
        kind: `count` in the window, `rate` an hour, or `mean` of a histogram.
        unit: Of its value.
        source: The name of the metric: a counter, or a histogram.

    Raises:
        ValueError: The kind is not one of these, the name is one of ours or none, or there are 100 KPIs already.
    """

    _declared: ClassVar[dict[str, Kpi]] = {}
    _lock = threading.Lock()

    def __init__(self, name: str, kind: Kind, unit: str, source: str) -> None:
        if kind not in ("count", "rate", "mean"):
            raise ValueError(f"Kpi kind={kind!r} is not accepted; accepted: count | rate | mean")
        if not name or any(name == ours.name for ours in DEFINITIONS):
            raise ValueError(f"Kpi name={name!r} is not accepted; accepted: a name that no other KPI has")
        if not source:
            raise ValueError(f"Kpi source={source!r} is not accepted; accepted: the name of a counter or a histogram")
        self.name, self.kind, self.unit, self.source = name, kind, unit, source
        with self._lock:
            if len(self._declared) >= _MAX_OWN and name not in self._declared:
                raise ValueError(f"Kpi {name!r} is not accepted: there are {_MAX_OWN} KPIs already")
            self._declared[name] = self

    def remove(self) -> None:
        """Show this no longer."""
        with self._lock:
            if self._declared.get(self.name) is self:
                del self._declared[self.name]

    @classmethod
    def declared(cls) -> list[Kpi]:
        """All KPIs of the application, in the order of their declaration."""
        with cls._lock:
            return list(cls._declared.values())

    def definition(self) -> Definition:
        """As ours are defined."""
        source, kind = self.source, self.kind
        words = {"count": "in the window", "rate": "an hour, over the window", "mean": "sum / count"}[kind]

        def compute(seen: Seen) -> float | None:
            total = seen.totals.get(f"own.{source}.sum")
            if total is None:
                return None
            if kind == "mean":
                return ratio(total, seen.of(f"own.{source}.count"))
            counted = seen.totals.get(f"own.{source}.count", total)
            return counted * 3600 / seen.seconds if kind == "rate" else counted

        fits = "histogram" if kind == "mean" else "counter or histogram"
        unknown = f"{source} has not been measured, or is no {fits}"
        return Definition(self.name, self.unit, f"{source}: {words}", compute, unknown)


def ratio(part: float, whole: float) -> float | None:
    """A part of a whole, or `None` of nothing."""
    return part / whole if whole > 0 else None


def quantile(counted: list[tuple[float, float]], share: float) -> float | None:
    """A quantile of durations, interpolated within its bucket as Prometheus does.

    Args:
        counted: Upper bounds with how many are in their bucket, ascending.
        share: 0 to 1.
    """
    whole = sum(count for _, count in counted)
    if whole <= 0:
        return None
    rank, below = share * whole, 0.0
    for bound, count in counted:
        if below + count >= rank:
            if bound == float("inf"):
                return _BOUNDS[-1]
            return _lower(bound) + (bound - _lower(bound)) * (rank - below) / count
        below += count
    return _BOUNDS[-1]


def up_to(counted: list[tuple[float, float]], limit: float) -> float:
    """How many durations are at most `limit`, interpolated within its bucket."""
    found = 0.0
    for bound, count in counted:
        lower = _lower(bound)
        if bound <= limit:
            found += count
        elif lower < limit and bound != float("inf"):
            found += count * (limit - lower) / (bound - lower)
    return found


def _lower(bound: float) -> float:
    return max((each for each in _BOUNDS if each < bound), default=0.0)


def _apdex(seen: Seen) -> float | None:
    good, limit = buckets(seen.totals, OK), seen.apdex_threshold
    satisfied = up_to(good, limit)
    tolerating = up_to(good, 4 * limit) - satisfied
    whole = sum(count for _, count in [*good, *buckets(seen.totals, FAILED)])
    return ratio(satisfied + tolerating / 2, whole)


def _served(seen: Seen) -> float:
    return seen.of(f"http.{OK}", f"http.{CLIENT_ERROR}", f"http.{FAILED}")


def _searches(seen: Seen) -> float:
    return sum(value for name, value in seen.totals.items() if name.startswith("search."))


def _latency(name: str, share: float) -> Definition:
    return Definition(
        name,
        "s",
        f"p{share * 100:.0f} of the duration of requests that were ok or failed, without streams; exact to its bucket",
        lambda seen: quantile(buckets(seen.totals, OK, FAILED), share),
    )


def _now(name: str, unit: str, formula: str, metric: str) -> Definition:
    return Definition(name, unit, formula, lambda seen: seen.now.get(metric), f"{metric} has not been measured")


def _visits(name: str, unit: str, formula: str) -> Definition:
    return Definition(name, unit, formula, lambda seen: seen.visits.get(name), visits.REASONS[name])


DEFINITIONS = (
    Definition(
        "request_volume",
        "{request}/h",
        "requests an hour, without aborted ones",
        lambda seen: _served(seen) * 3600 / seen.seconds,
    ),
    Definition("search_volume", "{search}/h", "searches an hour", lambda seen: _searches(seen) * 3600 / seen.seconds),
    Definition(
        "zero_result_rate",
        "1",
        "empty / (hits + empty)",
        lambda seen: ratio(seen.of("search.empty"), seen.of("search.hits", "search.empty")),
    ),
    Definition(
        "partial_rate",
        "1",
        "(partial + timeout) / all searches",
        lambda seen: ratio(seen.of("search.partial", "search.timeout"), _searches(seen)),
    ),
    Definition(
        "search_error_rate",
        "1",
        "failed searches / all searches",
        lambda seen: ratio(seen.of("search.error"), _searches(seen)),
    ),
    Definition(
        "error_rate",
        "1",
        "failed / (ok + client errors + failed); aborted requests are in neither",
        lambda seen: ratio(seen.of(f"http.{FAILED}"), _served(seen)),
    ),
    Definition(
        "availability",
        "1",
        "1 - failed / (ok + client errors + failed); aborted requests are in neither",
        lambda seen: None if (rate := ratio(seen.of(f"http.{FAILED}"), _served(seen))) is None else 1 - rate,
    ),
    Definition(
        "aborted_rate",
        "1",
        "aborted / all requests",
        lambda seen: ratio(seen.of(f"http.{ABORTED}"), _served(seen) + seen.of(f"http.{ABORTED}")),
    ),
    Definition(
        "apdex", "1", "(ok within T + ok within 4 T / 2) / (ok + failed), without streams; failed never satisfy", _apdex
    ),
    _latency("latency_p50", 0.5),
    _latency("latency_p95", 0.95),
    _latency("latency_p99", 0.99),
    _now("cpu_utilization", "1", "processor time of all workers, of what they may use", semconv.CPU_UTILIZATION.name),
    _now("memory_utilization", "1", "memory in use of the limit", semconv.MEMORY_UTILIZATION.name),
    _now("elasticsearch_health", "1", "0 unhealthy, 1 degraded, 2 healthy", semconv.HEALTH_STATUS.name),
    _visits(visits.UNIQUE_USERS, "{user}", "different users in the window, by a sketch: 1.6 % standard error"),
    _visits(
        visits.SESSION_LENGTH,
        "s",
        "mean of last - first request, of sessions with a request in the window; 30 minutes without one end a session",
    ),
    _visits(visits.TOP_SHAPES, "1", "the query shapes searched for most, of the searches that were traced"),
    _visits(visits.SLOWEST_SHAPES, "1", "the query shapes that took longest in the mean, likewise"),
)
