"""How the service does: rate, errors, duration; saturation; workers."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import frame
from dashboards.names import ANSWERED, CODE, FAILED, TIMED, label, of, quantile, rate, share
from dashboards.panels import BYTES, BYTES_PER_SECOND, NUMBER, PER_SECOND, SECONDS, SHARE, lines, rows
from otel_search import semconv

ROUTE = label(semconv.HTTP_ROUTE)
REQUESTS = of(semconv.HTTP_DURATION, ANSWERED, suffix="count")
ALL = of(semconv.HTTP_DURATION, suffix="count")
WITH_ERROR = f'{label(semconv.ERROR_TYPE)}!=""'
LAG = semconv.EVENT_LOOP_LAG


def build() -> Dashboard:
    """The dashboard."""
    failed = of(semconv.HTTP_DURATION, FAILED, suffix="count")
    made = frame("otel-search-service", "Search service", "Is the service up, fast and right, and has it room left?")
    made = made.with_row(Row("Requests"))
    for panel in (
        lines("Requests by route", PER_SECOND, (rate(REQUESTS, ROUTE), f"{{{{{ROUTE}}}}}"), stacked=True),
        lines(
            "Failed requests",
            SHARE,
            (share(rate(failed), rate(REQUESTS)), "failed"),
            why="Answers with 500 and above, of all that were answered. What clients did wrong (4xx) is no failure.",
        ),
        lines(
            "Duration",
            SECONDS,
            *((quantile(q, semconv.HTTP_DURATION, TIMED), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            exemplars=True,
            why="Without streams. The dots are single requests: they lead to their traces.",
        ),
        lines("Answers by status", PER_SECOND, (rate(ALL, CODE), f"{{{{{CODE}}}}}"), stacked=True),
        lines("p95 by route", SECONDS, (quantile(0.95, semconv.HTTP_DURATION, TIMED, by=ROUTE), f"{{{{{ROUTE}}}}}")),
        lines("In flight", NUMBER, (f"sum by (instance) ({of(semconv.HTTP_ACTIVE)})", "{{instance}}"), stacked=True),
        rows(
            "Routes by time spent",
            SECONDS,
            f"topk(20, sum by ({ROUTE}, {label(semconv.HTTP_REQUEST_METHOD)}) "
            f"(increase({of(semconv.HTTP_DURATION, TIMED, suffix='sum')}[$__range])))",
            "Seconds in each route over the time range: where an improvement is worth most.",
        ),
        rows(
            "Errors by route and type",
            NUMBER,
            f"topk(20, sum by ({ROUTE}, {CODE}, {label(semconv.ERROR_TYPE)}) "
            f"(increase({of(semconv.HTTP_DURATION, WITH_ERROR, suffix='count')}[$__range])) > 0)",
        ),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Saturation"))
    for panel in (
        lines(
            "Processor, of what it may use",
            SHARE,
            (f"max by (instance) ({of(semconv.CPU_UTILIZATION)})", "{{instance}}"),
        ),
        lines(
            "Memory, of its limit",
            SHARE,
            (f"max by (instance) ({of(semconv.MEMORY_UTILIZATION)})", "{{instance}}"),
            at_most=1,
        ),
        lines(
            "Event loop lag",
            SECONDS,
            *((quantile(q, LAG), f"p{q * 100:g}") for q in (0.5, 0.99)),
            why="How late the loop comes to a timer: something blocks it, or the processor is short.",
        ),
        lines("Resident memory", BYTES, (f"max by (instance) ({of('process_memory_usage_bytes')})", "{{instance}}")),
        lines(
            "Threads and open files",
            NUMBER,
            (f"max({of('process_thread_count')})", "threads"),
            (f"max({of('process_open_file_descriptor_count')})", "open files"),
            why="The most that one worker has. A line that only rises is a leak.",
        ),
        lines(
            "Network of the machine",
            BYTES_PER_SECOND,
            (
                f"sum by (direction) (max by (direction, device) (rate({of('system_network_io_bytes_total')}[$__rate_interval])))",
                "{{direction}}",
            ),
        ),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Workers"))
    for panel in (
        lines("Workers", NUMBER, (f"count by (job) ({of('target_info')})", "{{job}}")),
        lines(
            "Uptime",
            SECONDS,
            (f"{of('process_uptime_seconds')}", "{{instance}}"),
            why="A line that falls to zero is a restart.",
        ),
        lines(
            "Health",
            NUMBER,
            (
                f"min by ({label(semconv.HEALTH_COMPONENT)}) ({of(semconv.HEALTH_STATUS)})",
                f"{{{{{label(semconv.HEALTH_COMPONENT)}}}}}",
            ),
            why="0 unhealthy, 1 degraded, 2 healthy; the worst worker counts.",
            at_most=2,
        ),
    ):
        made = made.with_panel(panel)
    return made
