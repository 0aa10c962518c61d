"""Health, alerts and KPIs of each service, from the metrics that it has sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_search import semconv
from otel_search.viewer.page import parameters
from otel_search.viewer.page.numbers import SECOND, Series, Step, series_of, steps_of
from otel_search.viewer.page.rendering import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_STATUSES = {0: "unhealthy", 1: "degraded", 2: "healthy"}
_QUIET = 180 * SECOND
"""After how long without an export a status is said to be old."""


def page(request: Request) -> Response:
    """The view."""
    window = parameters.window_of(request)
    start = window.start()
    services: dict[str, dict[str, Any]] = defaultdict(lambda: {"components": [], "alerts": [], "kpis": []})
    with request.app.state.store.snapshot() as connection:

        def series(name: str) -> list[Series]:
            metric = connection.execute(
                "SELECT * FROM metrics WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)
            ).fetchone()
            return [] if metric is None else series_of(connection, metric, start * SECOND)

        for one in series(semconv.HEALTH_STATUS.name):
            services[one.service]["components"].append(_component(one))
        for one in series(semconv.ALERTS_FIRING.name):
            if one.points[-1]["value"] > 0:
                services[one.service]["alerts"].append(_alert(one))
        for service, kpis in _kpis(window, series).items():
            services[service]["kpis"] = kpis
        newest = connection.execute("SELECT max(last) FROM series").fetchone()[0] or 0
    for found in services.values():
        found["components"].sort(key=lambda component: (component["value"], component["name"], component["instance"]))
        found["alerts"].sort(key=lambda alert: (alert["severity"], alert["name"]))
    return render(
        request,
        "health.html",
        services=sorted(services.items()),
        newest=newest,
        quiet=_QUIET,
        window=window,
        windows=parameters.WINDOWS,
        parameters={"window": window.name},
    )


def _component(series: Series) -> dict[str, Any]:
    point = series.points[-1]
    return {
        "name": str(series.attributes.get(semconv.HEALTH_COMPONENT, "service")),
        "instance": series.instance,
        "value": int(point["value"]),
        "status": _STATUSES.get(int(point["value"]), "unknown"),
        "since": point["time"],
        "time": point["until"],
    }


def _alert(series: Series) -> dict[str, Any]:
    point = series.points[-1]
    name = str(series.attributes.get(semconv.ALERT_NAME, ""))
    severity = str(series.attributes.get(semconv.ALERT_SEVERITY, ""))
    return {"name": name, "severity": severity, "since": point["time"], "count": point["value"]}


def _kpis(window: parameters.Window, series: Any) -> Mapping[str, list[dict[str, Any]]]:
    """KPIs of the window, each with the metric that it comes from."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def say(service: str, name: str, value: float | None, unit: str, metric: str) -> None:
        found[service].append({"name": name, "value": value, "unit": unit, "metric": metric})

    start = window.start()
    for service, members in _by_service(series(semconv.HTTP_DURATION.name)).items():
        whole = _whole(members, start)
        failed = _whole([one for one in members if semconv.ERROR_TYPE in one.attributes], start)
        say(service, "requests", whole.count, "", semconv.HTTP_DURATION.name)
        say(service, "failed requests", _share(failed.count, whole.count), "share", semconv.HTTP_DURATION.name)
        say(service, "95th percentile", whole.quantile(0.95), "s", semconv.HTTP_DURATION.name)
    for service, members in _by_service(series(semconv.SEARCHES.name)).items():
        name = semconv.SEARCHES.name
        outcomes = {
            outcome: _whole([one for one in members if one.attributes.get(semconv.OUTCOME) == outcome], start).value
            for outcome in ("hits", "empty", "partial", "timeout", "error")
        }
        total = sum(outcomes.values())
        say(service, "searches", total, "", name)
        say(service, "without hits", _share(outcomes["empty"], total), "share", name)
        say(service, "partial or timed out", _share(outcomes["partial"] + outcomes["timeout"], total), "share", name)
        say(service, "failed searches", _share(outcomes["error"], total), "share", name)
    for service, members in _by_service(series(semconv.SEARCH_TOOK.name)).items():
        whole = _whole(members, start)
        say(service, "took, average", whole.value / whole.count if whole.count else None, "s", semconv.SEARCH_TOOK.name)
    for metric, name in ((semconv.CPU_UTILIZATION.name, "processor"), (semconv.MEMORY_UTILIZATION.name, "memory")):
        for service, members in _by_service(series(metric)).items():
            say(service, name, max(one.points[-1]["value"] for one in members), "share", metric)
    for service, members in _by_service(series(semconv.EVENT_LOOP_LAG.name)).items():
        say(service, "event loop late, p95", _whole(members, start).quantile(0.95), "s", semconv.EVENT_LOOP_LAG.name)
    return found


def _by_service(found: Sequence[Series]) -> dict[str, list[Series]]:
    services: dict[str, list[Series]] = defaultdict(list)
    for series in found:
        services[series.service].append(series)
    return services


def _whole(members: Sequence[Series], start: int) -> Step:
    """All that was added in the window, in one."""
    whole = Step()
    for step in steps_of(members, start, 10**9).values():
        whole.value += step.value
        whole.count += step.count
        whole.bounds, whole.buckets = step.bounds, step.buckets
    return whole


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
