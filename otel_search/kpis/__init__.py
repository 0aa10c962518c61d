"""KPIs: how the service does for those who search, every number measured.

They are computed from what the metrics count, over a rolling hour: in the process, from all workers
by the same road as `/metrics`; or for the whole fleet in Prometheus, in the access log in Elasticsearch,
or both. One set of formulas serves all. What is not known is `null`, with the reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from otel_search import semconv
from otel_search.kpis import elasticsearch, prometheus
from otel_search.kpis.definitions import DEFINITIONS, Kpi, Seen
from otel_search.kpis.totals import Totals, difference, of_merged
from otel_search.kpis.visits import REASONS, SLOWEST_SHAPES, TOP_SHAPES, Visits
from otel_search.kpis.window import Window
from otel_search.metrics import Merged
from otel_search.metrics.snapshot import COUNTER

__all__ = ["Kpi", "Kpis", "Sources", "Visits"]

_ONLY_IN_METRICS = (
    "search_volume",
    "zero_result_rate",
    "partial_rate",
    "search_error_rate",
    "cpu_utilization",
    "memory_utilization",
    "elasticsearch_health",
)
_OF_REQUESTS = [each.name for each in DEFINITIONS if each.name not in (*_ONLY_IN_METRICS, *REASONS)]

_logger = logging.getLogger("otel_search.kpis")
_NOW: dict[str, Callable[[Iterable[float]], float]] = {
    semconv.CPU_UTILIZATION.name: max,
    semconv.MEMORY_UTILIZATION.name: max,
    semconv.HEALTH_STATUS.name: min,
}


class Workers(Protocol):
    """What the KPIs want to know of the workers: `Metrics`, or a test."""

    def merged(self) -> Merged:
        """The metrics of all of them, now."""

    def carried_by_others(self) -> list[bytes]:
        """What the others know of their visitors."""

    @property
    def directory(self) -> Path | None:
        """What they share, or `None` for one alone."""


@dataclass(frozen=True)
class Sources:
    """Where KPIs are computed for the whole fleet, if not from the workers of this server.

    Attributes:
        prometheus: Its address; empty for none.
        selector: Which series in Prometheus are this service's.
        log: The access log in Elasticsearch.
    """

    prometheus: str = ""
    selector: str = ""
    log: elasticsearch.Log | None = None

    @property
    def words(self) -> str:
        """As they are shown."""
        there = [name for name, here in (("prometheus", self.prometheus), ("elasticsearch", self.log)) if here]
        return ",".join(there) or "process"


class Kpis:
    """The KPIs of a service.

    Args:
        metrics: The metrics of all workers, and what else they tell each other.
        visits: Who came to this process.
        apdex_threshold: Seconds up to which a request satisfies.
        sources: Where they are computed for the whole fleet.
        window: The time that is looked at.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        metrics: Workers,
        visits: Visits | None = None,
        *,
        apdex_threshold: float = 0.25,
        sources: Sources | None = None,
        window: Window | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._visits = visits
        self._threshold = apdex_threshold
        self._sources = sources or Sources()
        self._window = window or Window(clock=clock)
        self._clock = clock

    def begin(self) -> None:
        """Sample from now on, once a minute."""
        if self._sources == Sources():
            if self._visits is not None:
                self._visits.watch_searches()
            threading.Thread(target=self._sample_for_ever, name="otel-search kpis", daemon=True).start()

    def sample(self) -> None:
        """Keep what is counted now."""
        self._window.sample(self._totals(self._metrics.merged()), self._shared())

    def report(self) -> dict[str, Any]:
        """All KPIs with unit, formula and, where there is no value, the reason; not for an event loop."""
        seen = self._in_process() if self._sources == Sources() else self._in_the_fleet()
        own = [kpi.definition() for kpi in Kpi.declared()]
        entries: dict[str, dict[str, Any]] = {}
        for definition in (*DEFINITIONS, *own):
            value = None if definition.name in seen.missing else definition.compute(seen)
            shown = round(value, 6) if isinstance(value, float) else value
            entry: dict[str, Any] = {"value": shown, "unit": definition.unit}
            if value is None:
                reasons = {**seen.reasons, **seen.missing}
                entry["reason"] = reasons.get(definition.name, definition.unknown)
            if definition.formula:
                entry["definition"] = definition.formula
            entries[definition.name] = entry
        return {
            "timestamp": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
            "window_seconds": round(seen.seconds, 3),
            "source": self._sources.words,
            "apdex_threshold_seconds": self._threshold,
            "kpis": entries,
        }

    def _in_process(self) -> Seen:
        merged = self._metrics.merged()
        start = self._window.start(self._shared())
        when, before = start if start is not None else (self._clock(), {})
        now = {
            name: pick(values)
            for name, pick in _NOW.items()
            if (family := merged.families.get(name)) is not None
            and (values := [value[0] for key, value in family.points.items() if _counts(key)])
        }
        seconds = max(1.0, self._clock() - when)
        visits: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        if self._visits is not None:
            visits = self._visits.report(self._metrics.carried_by_others(), self._metrics.directory)
            reasons = self._visits.reasons
        return Seen(difference(self._totals(merged), before), seconds, self._threshold, now, visits, reasons)

    def _in_the_fleet(self) -> Seen:
        sources, seconds, end = self._sources, self._window.seconds, self._clock()
        found: Totals = {}
        now: dict[str, float] = {}
        visits: dict[str, Any] = {}
        missing: dict[str, str] = {}
        reasons = dict.fromkeys(REASONS, "Prometheus knows no users, sessions and queries: each would be a series")
        if sources.log is not None:
            reasons = {name: f"the access log has none: {why}" for name, why in REASONS.items()}
            reasons |= dict.fromkeys((TOP_SHAPES, SLOWEST_SHAPES), "the access log has no query shapes")
            missing = dict.fromkeys(self._only_in_metrics(), "the access log does not say; Prometheus would")
            try:
                found, visits = elasticsearch.totals(sources.log, end - seconds, end)
            except Exception as error:
                why = _cannot_be_asked("the access log", error)
                reasons, missing = dict.fromkeys(REASONS, why), dict.fromkeys(_OF_REQUESTS, why) | missing
        if sources.prometheus:
            # What both know is Prometheus' word: it was measured, whatever is logged.
            try:
                found = prometheus.totals(sources.prometheus, seconds, sources.selector, self._own(), end)
                now = prometheus.present(sources.prometheus, sources.selector, end)
                missing = {}
            except Exception as error:
                why = _cannot_be_asked("Prometheus", error)
                missing |= dict.fromkeys(self._only_in_metrics(), why)
                if sources.log is None:
                    missing |= dict.fromkeys(_OF_REQUESTS, why)
        return Seen(found, seconds, self._threshold, now, visits, reasons, missing)

    @staticmethod
    def _only_in_metrics() -> list[str]:
        return [*_ONLY_IN_METRICS, *(kpi.name for kpi in Kpi.declared())]

    def _own(self) -> list[tuple[str, str, str]]:
        families = self._metrics.merged().families
        declared = dict.fromkeys(kpi.source for kpi in Kpi.declared())
        # What this process has not measured yet is taken for a counter without a unit in its name.
        return [
            (name, families[name].unit, families[name].kind) if name in families else (name, "", COUNTER)
            for name in declared
        ]

    def _shared(self) -> Path | None:
        directory = self._metrics.directory
        return directory and directory / "kpis.window"

    @staticmethod
    def _totals(merged: Merged) -> Totals:
        return of_merged(merged, {kpi.source for kpi in Kpi.declared()})

    def _sample_for_ever(self) -> None:
        while True:
            try:
                self.sample()
            except Exception:
                time.sleep(1)  # the next minute's may succeed: a window with a gap is still one
            time.sleep(self._window.step)


def _counts(attributes: tuple[tuple[str, str], ...]) -> bool:
    """Of the components' health only Elasticsearch's is a KPI."""
    return dict(attributes).get(semconv.HEALTH_COMPONENT, "elasticsearch").startswith("elasticsearch")


def _cannot_be_asked(what: str, error: Exception) -> str:
    """Why a source says nothing, for the report; for the log, too."""
    why = f"{what} cannot be asked: {type(error).__name__}: {error}"[:300]
    _logger.warning("KPIs: %s", why)
    return why
