"""The rules that come with otel-search, and their thresholds.

`docs/alerts.md` has a section on each rule that says what to do.
"""

from __future__ import annotations

from otel_search import semconv
from otel_search.alerts.expression import (
    Absent,
    Arithmetic,
    Both,
    Comparison,
    Count,
    Expression,
    Gauge,
    Increase,
    Matcher,
    Number,
    Quantile,
    Resets,
    Series,
)
from otel_search.alerts.measures import (
    ALL_CALLS,
    ALL_ITEMS,
    ALL_SEARCHES,
    ANSWERED_SEARCHES,
    COMPONENT,
    DROP_REASON,
    DROP_SIGNAL,
    DROPPED,
    DURATION_BUCKET,
    DURATION_COUNT,
    DURATION_SUM,
    EMPTY_SEARCHES,
    FAILED,
    FAILED_ITEMS,
    OVERFLOW,
    PARTIAL_SEARCHES,
    SEARCH_ERRORS,
    SERVED,
    UNANSWERED,
    UPTIME,
    health_of,
    name_of,
)
from otel_search.alerts.promql import duration
from otel_search.alerts.rules import Rule, Severity

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

# -- thresholds -------------------------------------------------------------------------------
ERROR_RATE = 0.05
ENOUGH_ERRORS = 5
"""Fewer failures in the window are no rate: at night one request may be all there is."""
ENOUGH_SEARCHES = 20
AVERAGE_DURATION = 2.0
P99_DURATION = 5.0
SEARCH_ERROR_RATE = 0.05
ZERO_RESULT_RATE = 0.4
PARTIAL_RATE = 0.01
BULK_FAILURE_RATE = 0.01
UNREACHABLE_RATE = 0.5
MEMORY = 0.9
CPU = 0.9
LOOP_LAG = 0.5
RESTARTS = 1.5
COLLECTOR_QUEUE = 0.8

BURN_RATES: tuple[tuple[str, float, float, float, Severity], ...] = (
    ("Fast", 14.4, HOUR, 5 * MINUTE, "critical"),
    ("Steady", 6.0, 6 * HOUR, 30 * MINUTE, "critical"),
    ("Slow", 1.0, 3 * DAY, 6 * HOUR, "warning"),
)
"""How many times faster than allowed the error budget goes, over a long window and still over a short one
(https://sre.google/workbook/alerting-on-slos/)."""


def _share(part: Series, whole: Series, seconds: float) -> Expression:
    return Arithmetic("/", Increase(part, seconds), Increase(whole, seconds))


def _above(left: Expression, limit: float) -> Comparison:
    return Comparison(">", left, Number(limit))


def _at_least(series: Series, seconds: float, count: float) -> Comparison:
    return Comparison(">=", Increase(series, seconds), Number(count))


def _health(component: str, op: str, status: int) -> Comparison:
    return Comparison(op, Gauge("min", health_of(component)), Number(status))


# -- rules ------------------------------------------------------------------------------------
def catalogue(objective: float = 0.999) -> tuple[Rule, ...]:
    """All rules that come with otel-search.

    Args:
        objective: The share of requests that must not fail, for the burn rates.
    """
    return (*_service(), *_slo(objective), *_search(), *_elasticsearch(), *_process(), *_telemetry(), *_collector())


def _service() -> tuple[Rule, ...]:
    window = 5 * MINUTE
    return (
        Rule(
            name="HighErrorRate",
            group="service",
            condition=Both(
                _above(_share(FAILED, SERVED, window), ERROR_RATE), _at_least(FAILED, window, ENOUGH_ERRORS)
            ),
            pending=MINUTE,
            keep=2 * MINUTE,
            severity="critical",
            summary="{value:percent} of the requests to {service} fail (more than {threshold:percent})",
            inhibits=("ErrorBudgetBurnFast", "ErrorBudgetBurnSteady", "ErrorBudgetBurnSlow"),
            what="requests failed (5xx, or no answer) of all but aborted ones, over 5 minutes, and at least 5 of them",
        ),
        Rule(
            name="SlowRequests",
            group="service",
            condition=_above(
                Arithmetic("/", Increase(DURATION_SUM, window), Increase(DURATION_COUNT, window)), AVERAGE_DURATION
            ),
            pending=2 * MINUTE,
            keep=2 * MINUTE,
            summary="requests to {service} take {value:seconds} on average (more than {threshold:seconds})",
            what="average duration of requests that were ok or failed, without streams, over 5 minutes",
        ),
        Rule(
            name="SlowestRequests",
            group="service",
            condition=_above(Quantile(0.99, DURATION_BUCKET, window), P99_DURATION),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            summary="one request in a hundred to {service} takes {value:seconds} or more (more than {threshold:seconds})",
            what="p99 of the same durations, over 5 minutes",
        ),
        Rule(
            name="NoTraffic",
            group="service",
            condition=Comparison("==", Increase(SERVED, 15 * MINUTE), Number(0)),
            pending=5 * MINUTE,
            summary="{service} has had no requests for 15 minutes",
            what="no request in 15 minutes, after there had been some",
        ),
    )


def _slo(objective: float) -> tuple[Rule, ...]:
    budget = round(1 - objective, 9)
    windows = {HOUR: "hour", 6 * HOUR: "6 hours", 3 * DAY: "3 days"}
    return tuple(
        Rule(
            name=f"ErrorBudgetBurn{speed}",
            group="slo",
            condition=Both(
                Both(
                    _above(_share(FAILED, SERVED, long), round(rate * budget, 9)),
                    _above(_share(FAILED, SERVED, short), round(rate * budget, 9)),
                ),
                _at_least(FAILED, long, ENOUGH_ERRORS),
            ),
            pending=short * 0.4,
            keep=short / 5,
            aftermath=short * 1.5,
            severity=severity,
            summary=(
                f"{{value:percent}} of the requests to {{service}} failed in the last {windows[long]}: the error budget "
                f"of the objective goes {f'{rate:g} times' if rate > 1 else 'at least'} as fast as it may"
            ),
            inhibits=tuple(f"ErrorBudgetBurn{slower[0]}" for slower in BURN_RATES if slower[1] < rate),
            what=f"failed requests over {duration(long)}, and still over {duration(short)}: {rate:g} times the error budget",
        )
        for speed, rate, long, short, severity in BURN_RATES
    )


def _search() -> tuple[Rule, ...]:
    return (
        Rule(
            name="SearchErrors",
            group="search",
            condition=Both(
                _above(_share(SEARCH_ERRORS, ALL_SEARCHES, 5 * MINUTE), SEARCH_ERROR_RATE),
                _at_least(SEARCH_ERRORS, 5 * MINUTE, ENOUGH_ERRORS),
            ),
            pending=MINUTE,
            keep=2 * MINUTE,
            severity="critical",
            summary="{value:percent} of the searches of {service} fail (more than {threshold:percent})",
            what="failed searches of all, over 5 minutes, and at least 5 of them",
        ),
        Rule(
            name="ZeroResults",
            group="search",
            condition=Both(
                _above(_share(EMPTY_SEARCHES, ANSWERED_SEARCHES, 15 * MINUTE), ZERO_RESULT_RATE),
                _at_least(ANSWERED_SEARCHES, 15 * MINUTE, ENOUGH_SEARCHES),
            ),
            pending=15 * MINUTE,
            keep=5 * MINUTE,
            summary="{value:percent} of the searches of {service} find nothing (more than {threshold:percent})",
            what="searches that found nothing of those that were answered whole, over 15 minutes, of 20 or more",
        ),
        Rule(
            name="PartialResults",
            group="search",
            condition=Both(
                _above(_share(PARTIAL_SEARCHES, ALL_SEARCHES, 10 * MINUTE), PARTIAL_RATE),
                _at_least(PARTIAL_SEARCHES, 10 * MINUTE, ENOUGH_ERRORS),
            ),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            summary="{value:percent} of the searches of {service} time out or miss shards (more than {threshold:percent})",
            what="searches that timed out or lost a shard of all, over 10 minutes, and at least 5 of them",
        ),
        Rule(
            name="BulkFailures",
            group="search",
            condition=Both(
                _above(_share(FAILED_ITEMS, ALL_ITEMS, 10 * MINUTE), BULK_FAILURE_RATE),
                _at_least(FAILED_ITEMS, 10 * MINUTE, ENOUGH_ERRORS),
            ),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            summary="{value:percent} of the items that {service} sends in bulk are not indexed (more than {threshold:percent})",
            what="items of bulk requests that failed of all, over 10 minutes, and at least 5 of them",
        ),
    )


def _elasticsearch() -> tuple[Rule, ...]:
    return (
        Rule(
            name="ElasticsearchUnreachable",
            group="elasticsearch",
            condition=Both(
                _above(_share(UNANSWERED, ALL_CALLS, 5 * MINUTE), UNREACHABLE_RATE),
                _at_least(UNANSWERED, 5 * MINUTE, ENOUGH_ERRORS),
            ),
            pending=MINUTE,
            keep=2 * MINUTE,
            severity="critical",
            summary="{value:percent} of the calls of {service} to Elasticsearch get no answer",
            inhibits=("ElasticsearchRed", "SearchErrors", "BulkFailures"),
            what="calls that could not connect or got no answer in time of all, over 5 minutes, and at least 5 of them",
        ),
        Rule(
            name="ElasticsearchRed",
            group="elasticsearch",
            condition=_health("elasticsearch.*", "<", 1),
            by=(COMPONENT,),
            pending=MINUTE,
            keep=MINUTE,
            severity="critical",
            summary=f"{{{COMPONENT}}} is red or unreachable for {{service}}",
            inhibits=("ElasticsearchYellow", "SearchErrors", "PartialResults", "BulkFailures"),
            what="the health check of a cluster: red, unreachable, or it refuses the credentials",
        ),
        Rule(
            name="ElasticsearchYellow",
            group="elasticsearch",
            condition=_health("elasticsearch.*", "==", 1),
            by=(COMPONENT,),
            pending=15 * MINUTE,
            keep=5 * MINUTE,
            summary=f"{{{COMPONENT}}} has been yellow for 15 minutes",
            what="the health check of a cluster: yellow",
        ),
    )


def _process() -> tuple[Rule, ...]:
    restarts = Arithmetic(
        "/",
        Arithmetic(
            "-",
            Arithmetic("+", Resets(UPTIME, 15 * MINUTE), Count(UPTIME, 15 * MINUTE)),
            Count(UPTIME),
        ),
        Count(UPTIME),
    )
    return (
        Rule(
            name="HighMemory",
            group="process",
            condition=_above(Gauge("max", Series(name_of(semconv.MEMORY_UTILIZATION)), 5 * MINUTE), MEMORY),
            by=("instance",),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            summary="{service} {instance} uses {value:percent} of its memory",
            what="memory in use of the container's limit, or of the machine's, mean of 5 minutes",
        ),
        Rule(
            name="HighCpu",
            group="process",
            condition=_above(Gauge("max", Series(name_of(semconv.CPU_UTILIZATION)), 5 * MINUTE), CPU),
            by=("instance",),
            pending=10 * MINUTE,
            keep=5 * MINUTE,
            summary="{service} {instance} uses {value:percent} of its processors",
            what="processor time of what the container may use, mean of 5 minutes",
        ),
        Rule(
            name="DiskFull",
            group="process",
            condition=_health("disk.*", "<", 1),
            by=("instance", COMPONENT),
            pending=MINUTE,
            keep=5 * MINUTE,
            severity="critical",
            summary=f"{{{COMPONENT}}} of {{service}} {{instance}} is full",
            inhibits=("DiskFilling",),
            what="the health check of a disk: from the second number of `OTEL_SEARCH_HEALTH_DISK` on",
        ),
        Rule(
            name="DiskFilling",
            group="process",
            condition=_health("disk.*", "==", 1),
            by=("instance", COMPONENT),
            pending=15 * MINUTE,
            keep=5 * MINUTE,
            summary=f"{{{COMPONENT}}} of {{service}} {{instance}} is filling",
            what="the health check of a disk: from the first number of `OTEL_SEARCH_HEALTH_DISK` on",
        ),
        Rule(
            name="EventLoopLag",
            group="process",
            condition=_above(
                Quantile(
                    0.95,
                    Series(
                        f"{name_of(semconv.EVENT_LOOP_LAG)}_bucket", alias=f"{name_of(semconv.EVENT_LOOP_LAG)}_bucket"
                    ),
                    5 * MINUTE,
                ),
                LOOP_LAG,
            ),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            summary="the event loop of {service} is {value:seconds} late: something blocks it",
            what="p95 of how late the event loop comes to its timers, over 5 minutes",
        ),
        Rule(
            name="Restarts",
            group="process",
            condition=_above(restarts, RESTARTS),
            keep=15 * MINUTE,
            summary="the processes of {service} have been restarted {value} times each in 15 minutes",
            what="restarts in 15 minutes for each process that there is; a deployment is one",
        ),
    )


def _telemetry() -> tuple[Rule, ...]:
    def dropped(alias: str, op: str) -> Increase:
        return Increase(Series(DROPPED, ((Matcher(DROP_REASON, op, "queue_full"),),), alias), 10 * MINUTE)

    return (
        Rule(
            name="TelemetryDropped",
            group="telemetry",
            condition=_above(dropped("search_telemetry_dropped", "!="), 0),
            by=(DROP_SIGNAL,),
            keep=10 * MINUTE,
            summary=f"{{service}} has lost {{value:count}} {{{DROP_SIGNAL}}} in 10 minutes: they could not be delivered",
            what="spans, data points and log records that could not be delivered, over 10 minutes",
        ),
        Rule(
            name="TelemetryQueueFull",
            group="telemetry",
            condition=_above(dropped("search_telemetry_queue_full", "="), 0),
            by=(DROP_SIGNAL,),
            keep=10 * MINUTE,
            summary=f"{{service}} has lost {{value:count}} {{{DROP_SIGNAL}}} in 10 minutes: a queue was full",
            what="the same, because a queue was full",
        ),
        Rule(
            name="CardinalityOverflow",
            group="telemetry",
            condition=_above(Count(OVERFLOW), 0),
            pending=5 * MINUTE,
            summary="{service} has more combinations of attributes than a metric may have: the rest is one series",
            what="series that stand for all attribute sets beyond the SDK's limit of a metric",
        ),
        Rule(
            name="TelemetryAbsent",
            group="telemetry",
            condition=Absent(UPTIME, 5 * MINUTE),
            pending=5 * MINUTE,
            severity="critical",
            readers=("prometheus",),
            summary="no service has sent metrics for 5 minutes",
            what="no metrics of any service in 5 minutes",
        ),
        Rule(
            name="TargetDown",
            group="telemetry",
            condition=Comparison("==", Gauge("min", Series("up")), Number(0)),
            by=("instance",),
            pending=2 * MINUTE,
            severity="critical",
            readers=("prometheus",),
            summary="{service} cannot be scraped at {instance}",
            what="a target of Prometheus that does not answer",
        ),
    )


def _collector() -> tuple[Rule, ...]:
    def queue(name: str) -> Gauge:
        return Gauge("max", Series(f"otelcol_exporter_queue_{name}"))

    signals = {"Spans": "spans", "Metrics": "metric_points", "Logs": "log_records"}
    return (
        Rule(
            name="CollectorQueueFull",
            group="collector",
            condition=_above(Arithmetic("/", queue("size"), queue("capacity")), COLLECTOR_QUEUE),
            by=("instance", "exporter", "data_type"),
            pending=5 * MINUTE,
            keep=5 * MINUTE,
            readers=("prometheus",),
            summary="the Collector's queue of {data_type} for {exporter} is {value:percent} full",
            what="batches in the queue of an exporter of what it holds",
        ),
        *(
            Rule(
                name=f"CollectorLoses{signal}",
                group="collector",
                condition=_above(Increase(Series(f"otelcol_exporter_send_failed_{items}"), 10 * MINUTE), 0),
                by=("exporter",),
                keep=10 * MINUTE,
                severity="critical",
                readers=("prometheus",),
                summary=f"the Collector has given up {{value:count}} {items.replace('_', ' ')} for {{exporter}} in 10 minutes",
                what=f"{items.replace('_', ' ')} that an exporter of the Collector could not deliver, over 10 minutes",
            )
            for signal, items in signals.items()
        ),
    )
