"""Other servers: Elasticsearch, Prometheus, the ports of our own, and the clocks of all of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from otel_search.doctor.case import Case
from otel_search.doctor.exporters import chosen
from otel_search.doctor.finding import Severity, check
from otel_search.doctor.reach import Answer, Tls, step_of

_SKEW = 15.0
"""Seconds; the Date header has whole seconds, and an answer may take some."""

_PROMETHEUS_PORT = 9464


def _engines(case: Case) -> Iterator[tuple[str, str, Answer]]:
    """Each Elasticsearch that a variable names: the variable, the URL and the answer."""
    settings = case.settings
    if settings.elasticsearch_url:
        yield "OTEL_SEARCH_ELASTICSEARCH_URL", settings.elasticsearch_url, case.asked(settings.elasticsearch_url)
    sources = [url for kind, url in settings.kpi_source if kind == "elasticsearch"]
    by_logs = "elasticsearch" in chosen(case.effective, "logs") or "" in sources
    if (by_logs or sources) and not settings.logs_elasticsearch_cloud_id:
        headers = {}
        if settings.logs_elasticsearch_api_key:
            headers["authorization"] = f"ApiKey {settings.logs_elasticsearch_api_key}"
        elif settings.logs_elasticsearch_username:
            pair = f"{settings.logs_elasticsearch_username}:{settings.logs_elasticsearch_password}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        tls = Tls(settings.logs_elasticsearch_ca_certs)
        for url in filter(None, sources):
            yield "OTEL_SEARCH_KPI_SOURCE", url, case.asked(url, headers, tls)
        for url in settings.logs_elasticsearch_url if by_logs else ():
            yield "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL", url, case.asked(url, headers, tls)


@check(
    "engine-unreachable",
    Severity.ERROR,
    "Elasticsearch does not answer",
    "start it, or correct the URL; for a certificate of one's own set OTEL_SEARCH_LOGS_ELASTICSEARCH_CA_CERTS",
)
def engine_unreachable(case: Case) -> Iterator[str]:
    """The engine whose health is checked, or that log records go to."""
    for variable, url, answer in _engines(case):
        if answer.failed:
            yield case.redactor.text(f"{variable}={url}: {answer.detail}")


@check(
    "engine-refuses",
    Severity.ERROR,
    "Elasticsearch refuses to answer",
    "give credentials: OTEL_SEARCH_LOGS_ELASTICSEARCH_API_KEY, or user name and password",
)
def engine_refuses(case: Case) -> Iterator[str]:
    """401, 403 and whatever else is no success."""
    for variable, url, answer in _engines(case):
        if not answer.failed and not 200 <= answer.status < 300:
            yield case.redactor.text(f"{variable}={url}: status {answer.status}")


@check(
    "prometheus-unreachable",
    Severity.WARNING,
    "The Prometheus that KPIs are computed in does not answer",
    "start it, or correct OTEL_SEARCH_KPI_SOURCE, which is its address without /api",
)
def prometheus_unreachable(case: Case) -> Iterator[str]:
    """Asked as the KPIs ask."""
    for kind, url in case.settings.kpi_source:
        if kind != "prometheus":
            continue
        answer = case.asked(f"{url}/api/v1/query?query=1")
        if answer.failed or answer.status != 200 or b'"success"' not in answer.body:
            yield case.redactor.text(f"OTEL_SEARCH_KPI_SOURCE={url}: {answer.detail or f'status {answer.status}'}")


_SMTP_PORTS = {"starttls": 587, "tls": 465, "plain": 25}


@check(
    "mail-unreachable",
    Severity.WARNING,
    "The mail server that alerts go to does not answer",
    "start it, or correct OTEL_SEARCH_ALERTS_SMTP_HOST, …_PORT and …_SECURITY; `otel-search alerts test-mail` says more",
)
def mail_unreachable(case: Case) -> Iterator[str]:
    """A connection; whether it lets us in, a test mail says."""
    settings = case.settings
    host = settings.alerts_smtp_host
    if host:
        port = settings.alerts_smtp_port or _SMTP_PORTS[settings.alerts_smtp_security]
        step = step_of(host, port)
        if step.failed:
            yield f"OTEL_SEARCH_ALERTS_SMTP_HOST={host}: {step.detail}"


@check(
    "management-port-taken",
    Severity.ERROR,
    "The management port is in use",
    "stop what listens there, or set another OTEL_SEARCH_MANAGEMENT_PORT",
)
def management_port_taken(case: Case) -> Iterator[str]:
    """Somebody listens there already."""
    port, host = case.settings.management_port, case.settings.management_host
    if port and not step_of(host, port).failed:
        yield f"OTEL_SEARCH_MANAGEMENT_PORT={port}: something listens on {host}:{port} already"


@check(
    "prometheus-port-taken",
    Severity.ERROR,
    "The port of OpenTelemetry's Prometheus exporter is in use",
    "leave OTEL_METRICS_EXPORTER unset and scrape /metrics of the service, which answers for all of its workers",
)
def prometheus_port_taken(case: Case) -> Iterator[str]:
    """The service goes on without it, and nobody can scrape there."""
    if "prometheus" not in chosen(case.effective, "metrics") or case.is_silent:
        return
    host = case.variables.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost"
    text = case.variables.get("OTEL_EXPORTER_PROMETHEUS_PORT", "")
    port = int(text) if text.isdecimal() else _PROMETHEUS_PORT
    if not step_of(host, port).failed:
        yield f"OTEL_METRICS_EXPORTER=prometheus wants {host}:{port}, where something listens already"


@check(
    "clock-skew",
    Severity.WARNING,
    "The clocks of this machine and of a server differ",
    "synchronize the clocks; until then look at a longer range of time",
)
def clock_skew(case: Case) -> Iterator[str]:
    """What is dated wrongly is outside of the range that one looks at."""
    said = set()
    for url, answer in case.answers():
        try:
            there = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (TypeError, ValueError):
            continue
        skew = answer.asked_at - there
        host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        if abs(skew) > _SKEW and host not in said:
            said.add(host)
            yield f"this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {host}"
