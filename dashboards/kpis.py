"""What the business asks: the KPIs of /admin/metrics for the whole fleet, by the same formulas (docs/kpis.md)."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import frame
from dashboards.names import ANSWERED, FAILED, TIMED, increase, label, of, rate, share
from dashboards.panels import NUMBER, OPS, SECONDS, SHARE, lines, number, rows
from otel_search import semconv

OUTCOME = label(semconv.OUTCOME)
COLLECTION = label(semconv.DB_COLLECTION)
ELASTICSEARCH = f'{label(semconv.HEALTH_COMPONENT)}=~"elasticsearch.*"'
EMPTY = f'{OUTCOME}="empty"'
THRESHOLD = 0.25
"""Apdex: seconds up to which a request satisfies, as OTEL_SEARCH_APDEX_THRESHOLD by default."""


def _outcome(*outcomes: str) -> str:
    return increase(of(semconv.SEARCHES, f'{OUTCOME}=~"{"|".join(outcomes)}"'))


def _within(seconds: float) -> str:
    # Pushed and scraped metrics write a whole number differently.
    bound = f'le=~"{seconds:g}|{float(seconds)}"'
    return increase(of(semconv.HTTP_DURATION, TIMED, 'http_response_status_code=~"[1-3].."', bound, suffix="bucket"))


def _quantile(q: float) -> str:
    return f"histogram_quantile({q:g}, {increase(of(semconv.HTTP_DURATION, TIMED, suffix='bucket'), 'le')})"


def build() -> Dashboard:
    """The dashboard."""
    requests = increase(of(semconv.HTTP_DURATION, ANSWERED, suffix="count"))
    failed = increase(of(semconv.HTTP_DURATION, FAILED, suffix="count"))
    judged = increase(of(semconv.HTTP_DURATION, TIMED, 'http_response_status_code!~"4.."', suffix="count"))
    apdex = f"({_within(THRESHOLD)} + {_within(4 * THRESHOLD)}) / 2 / {judged}"
    good = [(None, "red"), (0.95, "orange"), (0.99, "green")]
    made = frame("otel-search-kpis", "KPIs", "How much is searched, how well, and how it develops.")
    made = made.with_row(Row("Over the time range"))
    for panel in (
        number("Requests", NUMBER, requests, "Without those that clients broke off."),
        number("Searches", NUMBER, _outcome(".*")),
        number("Availability", SHARE, f"1 - {share(failed, requests)}", "1 - failed / answered.", good),
        number(
            "Apdex",
            NUMBER,
            apdex,
            f"(ok within {THRESHOLD:g} s + ok within {4 * THRESHOLD:g} s) / 2 / (ok + failed).",
            good,
        ),
        number("No hits", SHARE, share(_outcome("empty"), _outcome("hits", "empty")), "empty / (hits + empty)."),
        number(
            "Incomplete", SHARE, share(_outcome("partial", "timeout"), _outcome(".*")), "(partial + timeout) / all."
        ),
        number("Median duration", SECONDS, _quantile(0.5)),
        number("p95 duration", SECONDS, _quantile(0.95)),
        number("p99 duration", SECONDS, _quantile(0.99)),
        number("Failed searches", SHARE, share(_outcome("error"), _outcome(".*")), "error / all."),
        number(
            "Elasticsearch",
            NUMBER,
            f"min({of(semconv.HEALTH_STATUS, ELASTICSEARCH)})",
            "0 unhealthy, 1 degraded, 2 healthy.",
            [(None, "red"), (1, "orange"), (2, "green")],
        ),
        number("Workers", NUMBER, f"count({of('target_info')})"),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("How it develops"))
    for panel in (
        lines("Searches", OPS, (rate(of(semconv.SEARCHES), "job"), "{{job}}"), stacked=True),
        lines(
            "Searches with and without hits",
            OPS,
            (rate(of(semconv.SEARCHES, f'{OUTCOME}=~"hits|empty"'), OUTCOME), f"{{{{{OUTCOME}}}}}"),
            stacked=True,
        ),
        rows(
            "Searches without hits, by collection",
            NUMBER,
            f"sort_desc({increase(of(semconv.SEARCHES, EMPTY), COLLECTION)})",
            width=8,
        ),
    ):
        made = made.with_panel(panel)
    return made
