"""Whether the telemetry itself arrives: what services drop, what the Collector queues, refuses and loses."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.frame import frame
from dashboards.names import label, of, rate
from dashboards.panels import BYTES, NUMBER, OPS, SECONDS, SHARE, lines, number, rows
from otel_search import semconv

COLLECTOR = 'job="otelcol"'
SIGNALS = ("spans", "metric_points", "log_records")
DROPPED = semconv.TELEMETRY_DROPPED


def _each_signal(metric: str, by: str = "") -> list[tuple[str, str]]:
    """A query for each signal; the Collector's metrics carry the signal in their name."""
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (rate(f"otelcol_{metric}_{signal}{{{COLLECTOR}}}", by), f"{signal.replace('_', ' ')}{legend}")
        for signal in SIGNALS
    ]


def build() -> Dashboard:
    """The dashboard."""
    signal, reason = (label(attribute) for attribute in DROPPED.attributes)
    made = frame("otel-search-telemetry", "Telemetry health", "Does the telemetry itself arrive, whole and once?")
    made = made.with_row(Row("Services"))
    for panel in (
        lines(
            "Dropped by services",
            OPS,
            (rate(of(DROPPED), f"{signal}, {reason}"), f"{{{{{signal}}}}} {{{{{reason}}}}}"),
            why="What a service could not deliver, or had no room for.",
            width=12,
        ),
        rows(
            "Dropped over the time range",
            NUMBER,
            f"sum by (job, {signal}, {reason}) (increase({of(DROPPED)}[$__range]))",
        ),
        number(
            "Metrics over their limit",
            NUMBER,
            'count(count by (__name__) ({otel_metric_overflow="true"})) or vector(0)',
            "Metrics with more sets of attributes than the SDK keeps (2000): the rest is in one series.",
            [(None, "green"), (1, "orange")],
        ),
        number("Series", NUMBER, 'prometheus_tsdb_head_series{job="prometheus"}', "In Prometheus' memory."),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Collector"))
    for panel in (
        lines("Accepted", OPS, *_each_signal("receiver_accepted")),
        lines("Sent", OPS, *_each_signal("exporter_sent", "exporter")),
        lines(
            "Queues",
            SHARE,
            (
                (
                    "max by (exporter, data_type) "
                    f"(otelcol_exporter_queue_size{{{COLLECTOR}}} / otelcol_exporter_queue_capacity{{{COLLECTOR}}})"
                ),
                "{{exporter}} {{data_type}}",
            ),
            why="What waits for a destination, of what may. A line that rises is a destination that is away or too slow.",
            at_most=1,
        ),
        lines(
            "Refused at the door",
            OPS,
            *_each_signal("receiver_refused"),
            why="By memory_limiter. Senders keep it and try again.",
        ),
        lines(
            "Lost: queue full",
            OPS,
            *_each_signal("exporter_enqueue_failed", "exporter"),
            why="The destination was away for longer than its queue could hold.",
        ),
        lines(
            "Lost: refused for good",
            OPS,
            *_each_signal("exporter_send_failed", "exporter"),
            why="The destination answered that it will never take it.",
        ),
        lines("Memory", BYTES, (f"max by (instance) (otelcol_process_memory_rss{{{COLLECTOR}}})", "{{instance}}")),
        lines("Processor", NUMBER, (rate(f"otelcol_process_cpu_seconds{{{COLLECTOR}}}", "instance"), "{{instance}}")),
        lines("Uptime", SECONDS, (f"max by (instance) (otelcol_process_uptime{{{COLLECTOR}}})", "{{instance}}")),
    ):
        made = made.with_panel(panel)
    made = made.with_row(Row("Backends"))
    for panel in (
        lines("Up", NUMBER, ("min by (job) (up)", "{{job}}"), at_most=1),
        lines(
            "Samples",
            OPS,
            (rate('prometheus_tsdb_head_samples_appended_total{job="prometheus"}', "type"), "{{type}}"),
        ),
        lines(
            "Samples out of order",
            OPS,
            (rate('prometheus_tsdb_head_out_of_order_samples_appended_total{job="prometheus"}'), "taken"),
            (rate('prometheus_tsdb_too_old_samples_total{job="prometheus"}'), "refused: too old"),
            why="What waited in a queue arrives out of order; what is older than out_of_order_time_window is refused.",
        ),
    ):
        made = made.with_panel(panel)
    return made
