"""KPIs: how the service does for those who search, every number measured.

They are computed from what the metrics count, over a rolling hour: in the process, from all workers
by the same road as `/metrics`; or for the whole fleet in Prometheus. One set of formulas serves
both. What is not known is `null`, with the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otel_search import semconv
from otel_search.kpis import prometheus
from otel_search.kpis.definitions import DEFINITIONS, Kpi, Seen
from otel_search.kpis.totals import Totals, difference, of_merged
from otel_search.kpis.window import Window
from otel_search.metrics import Merged

__all__ = ["Kpi", "Kpis"]

_NOW: dict[str, Callable[[Iterable[float]], float]] = {
    semconv.CPU_UTILIZATION.name: max,
    semconv.MEMORY_UTILIZATION.name: max,
    semconv.HEALTH_STATUS.name: min,
}


class Kpis:
    """The KPIs of a service.

    Args:
        merged: Reads the metrics of all workers.
        shared: Where the workers keep what they share, or `None` for one alone.
        apdex_threshold: Seconds up to which a request satisfies.
        source: The address of a Prometheus; empty for the process's own numbers.
        selector: Which series in Prometheus are this service's.
        window: The time that is looked at.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        merged: Callable[[], Merged],
        shared: Callable[[], Path | None],
        *,
        apdex_threshold: float = 0.25,
        source: str = "",
        selector: str = "",
        window: Window | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._merged = merged
        self._shared = shared
        self._threshold = apdex_threshold
        self._source = source
        self._selector = selector
        self._window = window or Window(clock=clock)
        self._clock = clock

    def begin(self) -> None:
        """Sample from now on, once a minute."""
        if not self._source:
            threading.Thread(target=self._sample_for_ever, name="otel-search kpis", daemon=True).start()

    def sample(self) -> None:
        """Keep what is counted now."""
        directory = self._shared()
        self._window.sample(self._totals(self._merged()), directory and directory / "kpis.window")

    def report(self) -> dict[str, Any]:
        """All KPIs with unit, formula and, where there is no value, the reason; not for an event loop."""
        seen = self._in_prometheus() if self._source else self._in_process()
        own = [kpi.definition() for kpi in Kpi.declared()]
        entries: dict[str, dict[str, Any]] = {}
        for definition in (*DEFINITIONS, *own):
            value = definition.compute(seen)
            entry: dict[str, Any] = {"value": None if value is None else round(value, 6), "unit": definition.unit}
            if value is None:
                entry["reason"] = definition.unknown
            if definition.formula:
                entry["definition"] = definition.formula
            entries[definition.name] = entry
        return {
            "timestamp": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
            "window_seconds": round(seen.seconds, 3),
            "source": "prometheus" if self._source else "process",
            "apdex_threshold_seconds": self._threshold,
            "kpis": entries,
        }

    def _in_process(self) -> Seen:
        directory = self._shared()
        merged = self._merged()
        start = self._window.start(directory and directory / "kpis.window")
        when, before = start if start is not None else (self._clock(), {})
        now = {
            name: pick(values)
            for name, pick in _NOW.items()
            if (family := merged.families.get(name)) is not None
            and (values := [value[0] for key, value in family.points.items() if _counts(key)])
        }
        seconds = max(1.0, self._clock() - when)
        return Seen(difference(self._totals(merged), before), seconds, self._threshold, now)

    def _in_prometheus(self) -> Seen:
        found = prometheus.totals(self._source, self._window.seconds, self._selector)
        now = prometheus.present(self._source, self._selector)
        return Seen(found, self._window.seconds, self._threshold, now)

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
