"""The routes that otel-search serves by itself: which there are, and what they answer.

They are no routes of the application's: they stand before it, so that neither its middleware, nor
its thread pool, nor its OpenAPI document has to do with them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics as otel_metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otel_search import __version__, semconv
from otel_search.aside import in_thread
from otel_search.context import Caller
from otel_search.endpoints import loggers, management
from otel_search.endpoints.response import MAX_BODY, Paths, Request, Response, json, text
from otel_search.health import HEALTH, LIVENESS, READINESS, Health, Report
from otel_search.kpis import Kpis, Sources, Visits, elasticsearch
from otel_search.metrics import Metrics
from otel_search.settings import Settings

if TYPE_CHECKING:
    from otel_search.alerts import EmbeddedAlerts

__all__ = ["MAX_BODY", "Endpoints", "Request", "Response", "application_paths"]

_logger = logging.getLogger(__name__)
_METHODS = ("GET", "HEAD")
_ADMIN = "/admin/metrics"


class Endpoints:
    """Our routes in one process.

    Args:
        effective: The settings.
        identity: `service` and `version`, as far as they are known.

    Attributes:
        health: The health of the process.
        metrics: The metrics of all workers.
        kpis: What comes of them.
        paths: All paths that are served on the application's port.
        visited: To be told who requests came from, if anybody wants to know.
    """

    def __init__(self, effective: Settings, identity: Mapping[str, str | None]) -> None:
        self._settings = effective
        self.health = Health(effective, identity)
        self.paths = application_paths(effective)
        tells_kpis = _ADMIN in _paths(effective)
        visits = Visits() if tells_kpis and not effective.kpi_source else None
        self.visited: Callable[[Caller], None] | None = None if visits is None else visits.visited
        self.metrics = Metrics(effective.gauges, visits)
        self.kpis = Kpis(
            self.metrics,
            visits,
            apdex_threshold=effective.apdex_threshold,
            sources=_sources(effective, identity.get("service") or ""),
        )
        self._alerts = _alerts(effective, self.metrics, identity.get("service") or "")
        self._loggers = loggers.Loggers(lambda: self.metrics.directory)
        self._begun_in = 0
        self._health_paths = _health_paths(effective)
        self._metrics_path = effective.metrics_path if "metrics" in effective.routes else None
        if self._health_paths:
            self._observe_health()

    def begin(self) -> None:
        """A server begins to serve the application, on the event loop that calls this."""
        if self._begun_in == os.getpid():
            return
        self._begun_in = os.getpid()
        try:
            self.health.loop.on_lag = semconv.EVENT_LOOP_LAG.on(_meter()).record
            self.health.loop.watch(asyncio.get_running_loop())
            has_port = "prometheus" in self._settings.metrics_exporters
            wanted = self._metrics_path is not None or _ADMIN in _paths(self._settings)
            if wanted or has_port or self._alerts is not None:
                self.metrics.begin()
            if self._alerts is not None:
                self._alerts.begin()
            if _ADMIN in _paths(self._settings):
                self.kpis.begin()
                self._loggers.begin()
            elif "admin" in self._settings.routes:
                _logger.info("GET %s tells the KPIs if OTEL_SEARCH_ADMIN_TOKEN is set", _ADMIN)
            port, every = self._settings.management_port, _paths(self._settings)
            if port is not None and every:
                management.listen(self._settings.management_host, port, self.answer_in_thread, every)
            if has_port:
                host, port = self._settings.prometheus_host, self._settings.prometheus_port
                anywhere = frozenset({"", "/metrics"})
                management.listen(host, port, self._scraped_in_thread, anywhere, "OTEL_EXPORTER_PROMETHEUS_PORT")
        except Exception as error:
            _logger.warning("metrics and health cannot be told in full: %s: %s", type(error).__name__, error)

    def end(self) -> None:
        """The server has served its last request."""
        try:
            if self._alerts is not None:
                self._alerts.end()
            self.metrics.end()
        except Exception as error:
            _logger.warning("the last metrics could not be left to other workers: %r", error)

    async def answer(self, request: Request) -> Response:
        """Answer on the event loop; never an exception.

        Args:
            request: For one of `paths`.
        """
        try:
            self.health.loop.watch(asyncio.get_running_loop())
            if request.path in self._health_paths and request.method in _METHODS:
                kind = self._health_paths[request.path]
                return _of_report(await self.health.report(kind, **self._wishes(request)))
            return await asyncio.wrap_future(in_thread(lambda: self._answer(request), "scrape"))
        except Exception as error:
            return _failed(request, error)

    def answer_in_thread(self, request: Request) -> Response:
        """Answer in a thread; never an exception."""
        try:
            return self._answer(request)
        except Exception as error:
            return _failed(request, error)

    def _scraped_in_thread(self, request: Request) -> Response:
        try:
            return self._scraped(request)
        except Exception as error:
            return _failed(request, error)

    def _scraped(self, request: Request) -> Response:
        headers = request.headers
        body, kind, more = self.metrics.text(headers.get("accept", ""), headers.get("accept-encoding", ""))
        return Response(200, body, kind, more)

    def _answer(self, request: Request) -> Response:
        is_logger = request.path.startswith(loggers.BELOW)
        if request.method not in _METHODS and not (is_logger and request.method == "PUT"):
            return text(405, "method not allowed", allow="GET, HEAD, PUT" if is_logger else "GET, HEAD")
        if request.path == self._metrics_path:
            return self._scraped(request)
        if request.path in (_ADMIN, loggers.PATH) or is_logger:
            if not request.is_authorized(self._settings.admin_token):
                return text(401, "a bearer token is needed", **{"www-authenticate": "Bearer"})
            return json(200, self.kpis.report()) if request.path == _ADMIN else self._loggers.answer(request)
        return _of_report(self.health.report_in_thread(self._health_paths[request.path], **self._wishes(request)))

    def _wishes(self, request: Request) -> dict[str, Any]:
        kind = self._health_paths[request.path]
        wanted = kind == HEALTH or request.query.get("verbose", "no").lower() not in ("no", "0", "false")
        return {"detailed": wanted and self._may_see_details(request), "group": request.query.get("group")}

    def _may_see_details(self, request: Request) -> bool:
        policy = self._settings.health_details
        return policy == "always" or (policy == "authorized" and request.is_authorized(self._settings.admin_token))

    def _observe_health(self) -> None:
        def observe(_: CallbackOptions) -> list[Observation]:
            return [
                Observation(int(status), {semconv.HEALTH_COMPONENT: name})
                for name, status in self.health.statuses().items()
            ]

        semconv.HEALTH_STATUS.observed_on(_meter(), observe)


def _meter() -> otel_metrics.Meter:
    return otel_metrics.get_meter(semconv.SCOPE, __version__)


def _alerts(effective: Settings, metrics: Metrics, service: str) -> EmbeddedAlerts | None:
    if effective.alerts == "off":
        return None
    from otel_search.alerts import EmbeddedAlerts  # and all that sends mail, only where it is wanted

    return EmbeddedAlerts(effective, metrics.merged, service)


def _sources(effective: Settings, service: str) -> Sources:
    named = dict(effective.kpi_source)
    log = None
    if "elasticsearch" in named:
        log = elasticsearch.Log(
            named["elasticsearch"] or effective.logs_elasticsearch_url[0].rstrip("/"),
            f"{effective.logs_index}-*" if effective.logs_index else "logs-*",
            service,
            elasticsearch.login(
                effective.logs_elasticsearch_api_key,
                effective.logs_elasticsearch_username,
                effective.logs_elasticsearch_password,
            ),
            effective.logs_elasticsearch_ca_certs,
        )
    return Sources(named.get("prometheus", ""), effective.kpi_selector, log)


def application_paths(effective: Settings) -> frozenset[str]:
    """The paths that are served on the application's port."""
    return _paths(effective) if effective.management_port is None else frozenset()


def _paths(effective: Settings) -> frozenset[str]:
    metrics = {effective.metrics_path} if "metrics" in effective.routes else set()
    paths = {*_health_paths(effective), *metrics}
    if "admin" not in effective.routes or not effective.admin_token:
        return frozenset(paths)
    with_loggers = Paths({*paths, _ADMIN, loggers.PATH})
    with_loggers.below = loggers.BELOW
    return with_loggers


def _health_paths(effective: Settings) -> dict[str, str]:
    if "health" not in effective.routes:
        return {}
    base = effective.health_path
    return {base: HEALTH, f"{base}/ready": READINESS, f"{base}/live": LIVENESS}


def _of_report(report: Report) -> Response:
    if not report.found:
        return json(404, report.body)
    return json(200 if report.ok else 503, report.body)


def _failed(request: Request, error: Exception) -> Response:
    _logger.warning("%s could not be answered: %s: %s", request.path, type(error).__name__, error)
    return text(500, "internal error")
