"""How searching does: what is asked, what comes of it, and where the time goes."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import frame
from dashboards.names import SERVICE_LABELS, label, of, quantile, rate, share
from dashboards.panels import NUMBER, OPS, SECONDS, SHARE, lines, rows
from otel_search import semconv

COLLECTION = label(semconv.DB_COLLECTION)
OPERATION = label(semconv.DB_OPERATION)
OUTCOME = label(semconv.OUTCOME)
SHAPE = label(semconv.QUERY_TYPE)
ERROR = label(semconv.ERROR_TYPE)
BUSINESS = label(semconv.OPERATION_NAME)
WITH_ERROR = f'{ERROR}!=""'
FAILED_ITEMS = of(semconv.BULK_ITEMS, f'{OUTCOME}!="ok"')
CALLS = semconv.DB_OPERATION_DURATION
SEARCHED = f'{OPERATION}="search"'
# From spans, by the Collector (collector/search_metrics.yaml): what the client's own metrics leave out to stay small.
SPANS = f"traces_search_calls_total{{{SERVICE_LABELS}}}"


def _outcome(*outcomes: str) -> str:
    return rate(of(semconv.SEARCHES, f'{OUTCOME}=~"{"|".join(outcomes)}"'))


def build() -> Dashboard:
    """The dashboard."""
    searches = of(semconv.SEARCHES)
    items = of(semconv.BULK_ITEMS)
    made = frame("otel-search-search", "Search", "What is searched for, what comes of it, and where the time goes.")
    made = made.with_row(Row("Searches"))
    for panel in (
        lines("Searches by outcome", OPS, (rate(searches, OUTCOME), f"{{{{{OUTCOME}}}}}"), stacked=True),
        lines(
            "Searches without hits",
            SHARE,
            (share(_outcome("empty"), _outcome("hits", "empty")), "no hits"),
            why="empty / (hits + empty). A sudden rise is an empty or half-filled index more often than a change of taste.",
        ),
        lines(
            "Incomplete and failed searches",
            SHARE,
            (share(_outcome("partial", "timeout"), _outcome(".*")), "partial or timed out"),
            (share(_outcome("error"), _outcome(".*")), "failed"),
            why="Elasticsearch answers 200 to a search that timed out or lost a shard.",
        ),
        lines(
            "Time in Elasticsearch and at the client",
            SECONDS,
            (quantile(0.95, semconv.SEARCH_TOOK), "took, p95"),
            (quantile(0.95, CALLS, SEARCHED), "client, p95"),
            exemplars=True,
            why="Far apart: connections, network, JSON or a busy event loop. Together and high: Elasticsearch itself.",
        ),
        lines(
            "Took by type of query, p95",
            SECONDS,
            (quantile(0.95, semconv.SEARCH_TOOK, by=SHAPE), f"{{{{{SHAPE}}}}}"),
            exemplars=True,
        ),
        lines(
            "Documents in one answer",
            NUMBER,
            *((quantile(q, semconv.DB_ROWS, SEARCHED), f"p{q * 100:g}") for q in (0.5, 0.95)),
        ),
        lines("Searches by collection", OPS, (rate(searches, COLLECTION), f"{{{{{COLLECTION}}}}}"), stacked=True),
        lines("Calls by type of query", OPS, (rate(SPANS, SHAPE), f"{{{{{SHAPE}}}}}"), stacked=True),
        rows(
            "Types of query and what came of them",
            NUMBER,
            f"sort_desc(sum by ({COLLECTION}, {SHAPE}, {OUTCOME}) (increase({SPANS}[$__range])) > 0)",
            "From spans, before any sampling.",
            width=8,
        ),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Calls"))
    for panel in (
        lines(
            "Calls by operation",
            OPS,
            (rate(of(CALLS, suffix="count"), OPERATION), f"{{{{{OPERATION}}}}}"),
            stacked=True,
        ),
        lines(
            "p95 by operation", SECONDS, (quantile(0.95, CALLS, by=OPERATION), f"{{{{{OPERATION}}}}}"), exemplars=True
        ),
        lines(
            "Failed calls by type",
            OPS,
            (
                rate(of(CALLS, WITH_ERROR, suffix="count"), f"{OPERATION}, {ERROR}"),
                f"{{{{{OPERATION}}}}} {{{{{ERROR}}}}}",
            ),
        ),
        lines("Bulk items", OPS, (rate(items, label(semconv.BULK_ACTION)), f"{{{{{label(semconv.BULK_ACTION)}}}}}")),
        lines(
            "Failed bulk items",
            SHARE,
            (share(rate(FAILED_ITEMS), rate(items)), "failed"),
            why="Of a bulk request that was answered 200.",
        ),
        lines(
            "Failed bulk items by type",
            OPS,
            (rate(FAILED_ITEMS, OUTCOME), f"{{{{{OUTCOME}}}}}"),
        ),
        lines(
            "Retries",
            OPS,
            (rate(of(semconv.RETRIES), label(semconv.RETRY_REASON)), f"{{{{{label(semconv.RETRY_REASON)}}}}}"),
        ),
        lines(
            "Nodes, as the clients see them",
            NUMBER,
            (
                f"sum by ({label(semconv.NODE_STATE)}) ({of(semconv.NODES)})",
                f"{{{{{label(semconv.NODE_STATE)}}}}}",
            ),
        ),
        lines(
            "Connections",
            NUMBER,
            (
                f"sum by ({label(semconv.POOL_STATE)}) ({of(semconv.DB_CONNECTIONS)})",
                f"{{{{{label(semconv.POOL_STATE)}}}}}",
            ),
        ),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Business operations"))
    for panel in (
        lines(
            "Operations",
            OPS,
            (rate(of(semconv.OPERATION_DURATION, suffix="count"), BUSINESS), f"{{{{{BUSINESS}}}}}"),
            width=8,
        ),
        lines(
            "p95 by operation",
            SECONDS,
            (quantile(0.95, semconv.OPERATION_DURATION, by=BUSINESS), f"{{{{{BUSINESS}}}}}"),
            exemplars=True,
        ),
        lines(
            "Failed operations",
            OPS,
            (
                rate(of(semconv.OPERATION_DURATION, WITH_ERROR, suffix="count"), f"{BUSINESS}, {ERROR}"),
                f"{{{{{BUSINESS}}}}} {{{{{ERROR}}}}}",
            ),
        ),
    ):
        made = made.with_panel(panel)
    return made
