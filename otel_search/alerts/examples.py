"""What each rule fires at, and what it does not: samples that both readers of the rules are tested with.

Samples are written as `promtool test rules` writes them: `0+6x30` is 0 and 30 more,
each greater by 6; `_x5` is six times nothing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from otel_search.alerts.engine import Engine
from otel_search.alerts.rules import Rule
from otel_search.alerts.states import FIRING, Alert, Alerts
from otel_search.metrics import Merged
from otel_search.metrics.merging import Family
from otel_search.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM

SERVICE, INSTANCE = "shop", "shop:8000"
MINUTE = 60.0

_HTTP = "http_server_request_duration_seconds"
_OK, _FAILED = f'{_HTTP}_count{{http_response_status_code="200"}}', f'{_HTTP}_count{{http_response_status_code="500"}}'
_SEARCHES = "search_client_searches_total"
_ITEMS = "search_client_bulk_items_total"
_CALLS = "db_client_operation_duration_seconds_count"
_HEALTH = "search_health_status_ratio"
_DROPPED = "search_telemetry_dropped_total"
_UPTIME = "process_uptime_seconds"

_NO_NUMBERS = " ".join(["NaN"] * 30)


@dataclass(frozen=True)
class Example:
    """Samples, and whether the rule fires at a moment.

    Attributes:
        series: Samples by series; `job` and `instance` are added where they are not said.
        at: The number of the sample.
        labels: Of the alert, beside `job` and `severity`; `None` if it does not fire.
        step: Minutes between samples.
    """

    rule: str
    series: Mapping[str, str]
    at: int
    labels: Mapping[str, str] | None
    step: int = 1


def _fires(rule: str, at: int, series: Mapping[str, str], *, step: int = 1, **labels: str) -> Example:
    return Example(rule, series, at, labels, step)


def _rests(rule: str, at: int, series: Mapping[str, str], *, step: int = 1) -> Example:
    return Example(rule, series, at, None, step)


def _durations(good: str, **buckets: str) -> dict[str, str]:
    """Buckets of requests that were ok, by bound, with `_` for the point."""
    named = {
        f'{_HTTP}_bucket{{http_response_status_code="200", le="{le[1:].replace("_", ".")}"}}': v
        for le, v in buckets.items()
    }
    return {**named, f'{_HTTP}_bucket{{http_response_status_code="200", le="+Inf"}}': good}


EXAMPLES = (
    _fires("HighErrorRate", 12, {_OK: "0+90x30", _FAILED: "0+10x30"}),
    # The first errors of an instance, between two scrapes: their series begins with all of them.
    _fires("HighErrorRate", 13, {_OK: "0+10x30", _FAILED: "_x9 50x20"}),
    _rests("HighErrorRate", 12, {_OK: "0+97x30", _FAILED: "0+3x30"}),
    _rests("HighErrorRate", 12, {_OK: "0x30", _FAILED: "0x30"}),
    _rests("HighErrorRate", 12, {_OK: "0x9 1x20", _FAILED: "_x9 1x20"}),
    # A client that left, and one that was told that it is wrong, are no failures.
    _rests(
        "HighErrorRate",
        12,
        {
            _OK: "0+50x30",
            f'{_HTTP}_count{{http_response_status_code="404"}}': "0+50x30",
            f'{_HTTP}_count{{http_response_status_code="200", search_client_left="true"}}': "0+50x30",
            f'{_HTTP}_count{{error_type="starlette.requests.ClientDisconnect"}}': "0+50x30",
        },
    ),
    # Exceptions without an answer are.
    _fires("HighErrorRate", 12, {_OK: "0+50x30", f'{_HTTP}_count{{error_type="ValueError"}}': "0+50x30"}),
    # A restart is no burst of errors: counters begin anew.
    _rests("HighErrorRate", 12, {_OK: "0+98x7 0+98x15", _FAILED: "0+2x7 0+2x15"}),
    _fires("SlowRequests", 12, {f'{_HTTP}_sum{{http_response_status_code="200"}}': "0+300x30", _OK: "0+100x30"}),
    _rests("SlowRequests", 12, {f'{_HTTP}_sum{{http_response_status_code="200"}}': "0+100x30", _OK: "0+100x30"}),
    _rests("SlowRequests", 12, {f'{_HTTP}_sum{{http_response_status_code="200"}}': "0x30", _OK: "0x30"}),
    # A stream lasts as long as its client likes.
    _rests(
        "SlowRequests",
        12,
        {
            f'{_HTTP}_sum{{http_response_status_code="200", search_response_stream="true"}}': "0+9000x30",
            f'{_HTTP}_count{{http_response_status_code="200", search_response_stream="true"}}': "0+100x30",
        },
    ),
    _fires("SlowestRequests", 12, _durations("0+100x30", _1_0="0+90x30", _5_0="0+90x30", _10_0="0+100x30")),
    _rests("SlowestRequests", 12, _durations("0+100x30", _1_0="0+100x30", _5_0="0+100x30", _10_0="0+100x30")),
    _fires("NoTraffic", 32, {_OK: "0+10x10 100x40"}),
    _rests("NoTraffic", 32, {_OK: "0+10x60"}),
    _rests("NoTraffic", 32, {}),
    _fires("ErrorBudgetBurnFast", 20, {_OK: "0+970x80", _FAILED: "0+30x80"}),
    _rests("ErrorBudgetBurnFast", 20, {_OK: "0+999x80", _FAILED: "0+1x80"}),
    # It was bad, and is not any more: the short window says so.
    _rests("ErrorBudgetBurnFast", 20, {_OK: "0+1000x80", _FAILED: "0+30x5 150x30"}),
    _fires("ErrorBudgetBurnSteady", 80, {_OK: "0+990x90", _FAILED: "0+10x90"}, step=5),
    _rests("ErrorBudgetBurnSteady", 80, {_OK: "0+998x90", _FAILED: "0+2x90"}, step=5),
    _fires("ErrorBudgetBurnSlow", 170, {_OK: "0+998x190", _FAILED: "0+2x190"}, step=30),
    _rests("ErrorBudgetBurnSlow", 170, {_OK: "0+9999x190", _FAILED: "0+1x190"}, step=30),
    _fires(
        "SearchErrors",
        12,
        {f'{_SEARCHES}{{search_outcome="hits"}}': "0+80x30", f'{_SEARCHES}{{search_outcome="error"}}': "0+20x30"},
    ),
    _rests("SearchErrors", 12, {f'{_SEARCHES}{{search_outcome="empty"}}': "0+80x30"}),
    _fires(
        "ZeroResults",
        20,
        {f'{_SEARCHES}{{search_outcome="hits"}}': "0+40x60", f'{_SEARCHES}{{search_outcome="empty"}}': "0+60x60"},
    ),
    _rests(
        "ZeroResults",
        20,
        {f'{_SEARCHES}{{search_outcome="hits"}}': "0+80x60", f'{_SEARCHES}{{search_outcome="empty"}}': "0+20x60"},
    ),
    # One search in the night that found nothing is no rate.
    _rests("ZeroResults", 20, {f'{_SEARCHES}{{search_outcome="empty"}}': "0x10 1x40"}),
    _fires(
        "PartialResults",
        12,
        {f'{_SEARCHES}{{search_outcome="hits"}}': "0+90x40", f'{_SEARCHES}{{search_outcome="timeout"}}': "0+10x40"},
    ),
    _rests("PartialResults", 12, {f'{_SEARCHES}{{search_outcome="hits"}}': "0+90x40"}),
    _fires(
        "BulkFailures",
        12,
        {
            f'{_ITEMS}{{search_outcome="ok"}}': "0+90x40",
            f'{_ITEMS}{{search_outcome="mapper_parsing_exception"}}': "0+10x40",
        },
    ),
    _rests("BulkFailures", 12, {f'{_ITEMS}{{search_outcome="ok"}}': "0+90x40"}),
    _fires("ElasticsearchUnreachable", 12, {_CALLS: "0+10x30", f'{_CALLS}{{error_type="ConnectionError"}}': "0+90x30"}),
    _rests("ElasticsearchUnreachable", 12, {_CALLS: "0+90x30", f'{_CALLS}{{error_type="NotFoundError"}}': "0+90x30"}),
    _fires(
        "ElasticsearchRed",
        12,
        {f'{_HEALTH}{{search_health_component="elasticsearch"}}': "2x5 0x20"},
        search_health_component="elasticsearch",
    ),
    _rests("ElasticsearchRed", 12, {f'{_HEALTH}{{search_health_component="memory"}}': "0x30"}),
    _rests("ElasticsearchRed", 12, {f'{_HEALTH}{{search_health_component="elasticsearch"}}': _NO_NUMBERS}),
    _fires(
        "ElasticsearchYellow",
        28,
        {f'{_HEALTH}{{search_health_component="elasticsearch"}}': "2x9 1x30"},
        search_health_component="elasticsearch",
    ),
    _rests("ElasticsearchYellow", 28, {f'{_HEALTH}{{search_health_component="elasticsearch"}}': "2x40"}),
    _fires("HighMemory", 12, {"search_memory_utilization_ratio": "0.95x30"}, instance=INSTANCE),
    _rests("HighMemory", 12, {"search_memory_utilization_ratio": "0.95x5 0.5x30"}),
    _rests("HighMemory", 12, {"search_memory_utilization_ratio": _NO_NUMBERS}),
    _fires("HighCpu", 14, {"search_cpu_utilization_ratio": "0.97x30"}, instance=INSTANCE),
    _rests("HighCpu", 14, {"search_cpu_utilization_ratio": "0.5x30"}),
    _fires(
        "DiskFull",
        12,
        {f'{_HEALTH}{{search_health_component="disk"}}': "0x30"},
        instance=INSTANCE,
        search_health_component="disk",
    ),
    _rests("DiskFull", 12, {f'{_HEALTH}{{search_health_component="disk"}}': "1x30"}),
    _fires(
        "DiskFilling",
        18,
        {f'{_HEALTH}{{search_health_component="disk:/data"}}': "1x40"},
        instance=INSTANCE,
        search_health_component="disk:/data",
    ),
    _rests("DiskFilling", 18, {f'{_HEALTH}{{search_health_component="disk:/data"}}': "2x40"}),
    _fires(
        "EventLoopLag",
        12,
        {
            'search_event_loop_lag_seconds_bucket{le="0.5"}': "0+90x30",
            'search_event_loop_lag_seconds_bucket{le="1.0"}': "0+120x30",
            'search_event_loop_lag_seconds_bucket{le="+Inf"}': "0+120x30",
        },
    ),
    _rests(
        "EventLoopLag",
        12,
        {
            'search_event_loop_lag_seconds_bucket{le="0.5"}': "0+120x30",
            'search_event_loop_lag_seconds_bucket{le="1.0"}': "0+120x30",
            'search_event_loop_lag_seconds_bucket{le="+Inf"}': "0+120x30",
        },
    ),
    _fires("Restarts", 12, {_UPTIME: "0+60x2 0+60x2 0+60x20"}),
    _rests("Restarts", 12, {_UPTIME: "0+60x9 0+60x30"}),
    # A deployment, with a new name for each process that is replaced.
    _rests("Restarts", 14, {f'{_UPTIME}{{worker="0"}}': "0+60x9 _x30", f'{_UPTIME}{{worker="1"}}': "_x9 0+60x30"}),
    _fires(
        "TelemetryDropped",
        12,
        {f'{_DROPPED}{{search_telemetry_signal="traces", search_telemetry_reason="export_failed"}}': "0x5 0+7x15"},
        search_telemetry_signal="traces",
    ),
    _rests(
        "TelemetryDropped",
        12,
        {f'{_DROPPED}{{search_telemetry_signal="traces", search_telemetry_reason="export_failed"}}': "7x30"},
    ),
    _fires(
        "TelemetryQueueFull",
        12,
        {f'{_DROPPED}{{search_telemetry_signal="logs", search_telemetry_reason="queue_full"}}': "_x5 9x15"},
        search_telemetry_signal="logs",
    ),
    _rests(
        "TelemetryQueueFull",
        12,
        {f'{_DROPPED}{{search_telemetry_signal="logs", search_telemetry_reason="export_failed"}}': "0+9x30"},
    ),
    _fires(
        "CardinalityOverflow", 20, {'search_operation_duration_seconds_count{otel_metric_overflow="true"}': "0+1x30"}
    ),
    _rests("CardinalityOverflow", 12, {'search_operation_duration_seconds_count{search_operation_name="a"}': "0+1x30"}),
    _fires("TelemetryAbsent", 22, {_UPTIME: "0+60x10 _x30"}),
    _rests("TelemetryAbsent", 22, {_UPTIME: "0+60x40"}),
    _fires("TargetDown", 12, {"up": "1x5 0x20"}, instance=INSTANCE),
    _rests("TargetDown", 12, {"up": "1x30"}),
    _fires(
        "CollectorQueueFull",
        12,
        {
            'otelcol_exporter_queue_size{exporter="otlp_http", data_type="traces"}': "900x30",
            'otelcol_exporter_queue_capacity{exporter="otlp_http", data_type="traces"}': "1000x30",
        },
        instance=INSTANCE,
        exporter="otlp_http",
        data_type="traces",
    ),
    _rests(
        "CollectorQueueFull",
        12,
        {
            'otelcol_exporter_queue_size{exporter="otlp_http", data_type="traces"}': "90x30",
            'otelcol_exporter_queue_capacity{exporter="otlp_http", data_type="traces"}': "1000x30",
        },
    ),
    *(
        example
        for signal, items in (("Spans", "spans"), ("Metrics", "metric_points"), ("Logs", "log_records"))
        for example in (
            _fires(
                f"CollectorLoses{signal}",
                12,
                {f'otelcol_exporter_send_failed_{items}{{exporter="otlp_http"}}': "0x5 0+5x20"},
                exporter="otlp_http",
            ),
            _rests(
                f"CollectorLoses{signal}", 12, {f'otelcol_exporter_send_failed_{items}{{exporter="otlp_http"}}': "5x30"}
            ),
        )
    ),
)

_VALUES = re.compile(r"(_|NaN|-?\d+(?:\.\d+)?)(?:([+-]\d+(?:\.\d+)?))?(?:x(\d+))?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def expanded(values: str) -> list[float | None]:
    """The samples in promtool's notation."""
    samples: list[float | None] = []
    for word in values.split():
        found = _VALUES.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no notation of samples")
        start, step, times = found.groups()
        samples += [
            None if start == "_" else float(start) + number * float(step or 0) for number in range(int(times or 0) + 1)
        ]
    return samples


def labelled(series: str, **labels: str) -> tuple[str, dict[str, str]]:
    """The name of a series and its labels, with those beside that it does not say itself."""
    name, _, rest = series.partition("{")
    return name, {**labels, **dict(_LABEL.findall(rest))}


def evaluated(example: Example, rule: Rule, service: str = SERVICE) -> list[Alert]:
    """The alerts that fire in the process, when it has seen the samples of an example.

    Args:
        example: The samples; they may be those of another rule.
        rule: The rule.
        service: Whose samples they are.
    """
    samples = {series: expanded(values) for series, values in example.series.items()}
    rule = dataclasses.replace(rule, readers=("process",))
    engine = Engine(lambda: (rule,), Alerts(service=service), lambda _: None)
    for number in range(example.at + 1):
        merged = merged_of({name: each[number] for name, each in samples.items() if number < len(each)})
        engine.look(number * example.step * MINUTE, merged)
    return [alert for alert in engine.alerts.known.values() if alert.state == FIRING]


def merged_of(values: Mapping[str, float | None]) -> Merged:
    """A snapshot in which these series have these values."""
    merged = Merged()
    for series, value in values.items():
        if value is None:
            continue
        name, labels = labelled(series, instance=INSTANCE)
        bound = labels.pop("le", None)
        base, part = _split(name)
        family = merged.families.setdefault(base, Family(base, "", "", _kind(name)))
        key = tuple(sorted(labels.items()))
        if family.kind != HISTOGRAM:
            family.points[key] = [value, None]
            continue
        point = family.points.setdefault(key, [0, 0.0, [], [0], [None]])
        if part == "count" and not point[2]:
            point[0], point[3] = value, [value]
        elif part == "sum":
            point[1] = value
        elif bound is not None:
            _add_bucket(point, float(bound), value)
    return merged


def _add_bucket(point: list[object], bound: float, value: float) -> None:
    """Add a cumulative bucket; they come in the order of their bounds."""
    bounds: list[float] = point[2]  # type: ignore[assignment]
    counts: list[float] = point[3]  # type: ignore[assignment]
    here = value - sum(counts[:-1])
    if bound == float("inf"):
        counts[-1] = here
        point[0] = value
    else:
        bounds.append(bound)
        counts[-1:] = [here, 0]
    point[4] = [None] * len(counts)


def _split(name: str) -> tuple[str, str]:
    for part in ("count", "sum", "bucket"):
        if _kind(name) == HISTOGRAM and name.endswith(f"_{part}"):
            return name.removesuffix(f"_{part}"), part
    return name.removesuffix("_total"), ""


def _kind(name: str) -> str:
    if name.endswith("_total") or name.startswith("otelcol_exporter_send"):
        return COUNTER if name.endswith("_total") else GAUGE
    return HISTOGRAM if name.endswith(("_count", "_sum", "_bucket")) else GAUGE


def of(rules: Iterable[Rule]) -> Iterator[tuple[Example, Rule]]:
    """The examples of these rules."""
    named = {rule.name: rule for rule in rules}
    for example in EXAMPLES:
        if example.rule in named:
            yield example, named[example.rule]
