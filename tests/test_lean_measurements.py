"""Recording to a known time series gives what the SDK's own way gives."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExplicitBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_search.lean import measurements
from otel_search.lean.measurements import Point

ATTRIBUTES: list[dict[str, Any]] = [
    {"a": "x", "b": 1},
    {"a": "x", "b": True},
    {"a": "x", "b": 1.0},
    {"b": "x"},
    {},
]


def contexts() -> Iterator[tuple[context.Context, bool]]:
    for number in range(4):
        sampled = number % 2 == 0
        span = SpanContext(number + 1, number + 1, is_remote=False, trace_flags=TraceFlags(int(sampled)))
        yield trace.set_span_in_context(NonRecordingSpan(span), context.Context()), sampled


def found(reader: InMemoryMetricReader) -> Any:
    """All points without their times."""
    data = reader.get_metrics_data()
    if data is None:
        return None

    def timeless(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: timeless(value) for name, value in node.items() if "time_unix_nano" not in name}
        return [timeless(item) for item in node] if isinstance(node, list) else node

    return timeless(json.loads(data.to_json()))["resource_metrics"][0]["scope_metrics"]


def record(lean: bool, **options: Any) -> list[Any]:
    """The same measurements through points; what each reader has after each of two collections."""
    readers = [
        InMemoryMetricReader(),
        InMemoryMetricReader(
            preferred_temporality={
                Counter: AggregationTemporality.DELTA,
                Histogram: AggregationTemporality.DELTA,
            }
        )
        if options.pop("delta", False)
        else InMemoryMetricReader(),
    ]
    provider = MeterProvider(metric_readers=readers, **options)
    meter = provider.get_meter("test")
    histogram = meter.create_histogram("h", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    counter = meter.create_counter("c")
    points = [Point(instrument, dict(each), lean=lean) for instrument in (histogram, counter) for each in ATTRIBUTES]
    collected = []
    for _ in range(2):
        for number, point in enumerate(points):
            for value, (ctx, sampled) in enumerate(contexts()):
                point.record(value / 2 + number, ctx, sampled)
        collected += [found(reader) for reader in readers]
    provider.shutdown()
    return collected


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"delta": True}, id="a delta reader"),
        pytest.param({"exemplar_filter": AlwaysOffExemplarFilter()}, id="no exemplars"),
        pytest.param({"exemplar_filter": AlwaysOnExemplarFilter()}, id="all exemplars"),
        pytest.param({"views": [View(instrument_name="h", attribute_keys={"a"})]}, id="fewer attributes"),
        pytest.param(
            {"views": [View(instrument_name="h", aggregation=ExplicitBucketHistogramAggregation([0.5]))]},
            id="other buckets",
        ),
        pytest.param(
            {"views": [View(instrument_name="h", name="h1"), View(instrument_name="h", name="h2")]}, id="two views"
        ),
        pytest.param({"views": [View(instrument_name="c", aggregation=DropAggregation())]}, id="dropped"),
    ],
)
def test_a_point_records_what_the_instrument_records(options: dict[str, Any]) -> None:
    short = record(lean=True, **options)
    own = record(lean=False, **options)
    # Sampled exemplars are drawn by chance where a reservoir is full: all that is not chance is equal.
    assert without_exemplars(short) == without_exemplars(own)
    assert has_exemplars(short) == has_exemplars(own)


def without_exemplars(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: without_exemplars(value) for name, value in node.items() if name != "exemplars"}
    return [without_exemplars(item) for item in node] if isinstance(node, list) else node


def has_exemplars(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: bool(value) if name == "exemplars" else has_exemplars(value) for name, value in node.items()}
    return [has_exemplars(item) for item in node] if isinstance(node, list) else None


def test_a_reader_that_is_added_later_gets_its_part() -> None:
    first = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[first])
    point = Point(provider.get_meter("test").create_counter("c"), {"a": "x"}, lean=True)
    point.record(1, context.Context(), False)
    if not hasattr(provider, "add_metric_reader"):
        pytest.skip("this SDK has its readers from the beginning")
    second = InMemoryMetricReader()
    provider.add_metric_reader(second)
    point.record(2, context.Context(), False)

    def value(reader: InMemoryMetricReader) -> int:
        return found(reader)[0]["metrics"][0]["data"]["data_points"][0]["value"]

    assert (value(first), value(second)) == (3, 2)
    provider.shutdown()


def test_an_instrument_from_before_the_provider_counts_once_there_is_one() -> None:
    proxies = metrics_api._ProxyMeterProvider()
    meter = proxies.get_meter("test")
    point = Point(meter.create_counter("c"), {"a": "x"}, lean=True)
    point.record(1, context.Context(), False)
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    proxies.on_set_meter_provider(provider)
    for _ in range(3):
        point.record(1, context.Context(), False)
    assert found(reader)[0]["metrics"][0]["data"]["data_points"][0]["value"] == 3
    provider.shutdown()


def test_an_sdk_that_is_built_otherwise_gets_its_measurements_all_the_same() -> None:
    class Other:
        def __init__(self) -> None:
            self.recorded: list[Any] = []
            self._measurement_consumer = object()

        def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
            self.recorded.append((amount, attributes))

    instrument = Other()
    point = Point(instrument, {"a": "x"}, lean=True)
    for value in range(3):
        point.record(value, context.Context(), False)
    assert instrument.recorded == [(0, {"a": "x"}), (1, {"a": "x"}), (2, {"a": "x"})]


MIXED: list[Any] = [
    *ATTRIBUTES,
    None,
    {"a": "x", "b": [1, 2]},
    {"b": 1, "a": "x"},
    {"": "nameless"},
    {1: "number"},
    {"a": None},
]


def through_instruments(install: bool, **options: Any) -> Any:
    """The same measurements through an SDK's instruments; what each reader has after each of two collections."""
    measurements.uninstall()
    if install:
        measurements.install()
    try:
        readers = [InMemoryMetricReader(), InMemoryMetricReader(options.pop("temporality", None) or {})]
        provider = MeterProvider(readers, shutdown_on_exit=False, **options)
        meter = provider.get_meter("test")
        counter, gauge, histogram = (
            meter.create_counter("counter"), meter.create_up_down_counter("gauge"), meter.create_histogram("histogram")
        )  # fmt: skip
        collected = []
        for _ in range(2):
            for where, _sampled in contexts():
                for value in (3, 0.5, 0, -1, float("nan"), float("inf"), -float("inf")):
                    for attributes in MIXED:
                        for record in (counter.add, gauge.add, histogram.record):
                            record(value, attributes, where)
            gauge.add(1)
            collected.append([found(reader) for reader in readers])
        return collected
    finally:
        measurements.uninstall()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temporality": {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}},
        {"exemplar_filter": AlwaysOnExemplarFilter()},
        {"exemplar_filter": AlwaysOffExemplarFilter()},
        {"views": [View(instrument_name="*", attribute_keys={"a"})]},
        {"views": [View(instrument_name="*", aggregation=DropAggregation())]},
        {
            "views": [
                View(instrument_name="histogram", name="one", aggregation=ExplicitBucketHistogramAggregation([1, 2])),
                View(instrument_name="histogram", name="two", attribute_keys=set()),
            ]
        },
    ],
    ids=str,
)
def test_instruments_count_as_the_sdk_does(options: dict[str, Any]) -> None:
    random.seed(1)
    expected = through_instruments(False, **dict(options))
    random.seed(1)
    assert through_instruments(True, **dict(options)) == expected


def test_a_reader_that_comes_later_gets_what_comes_later() -> None:
    measurements.install()
    try:
        first, second = InMemoryMetricReader(), InMemoryMetricReader()
        provider = MeterProvider([first], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("counter")
        counter.add(1, {"a": "x"})
        provider.add_metric_reader(second)
        counter.add(2, {"a": "x"})
        values = [reader.get_metrics_data() for reader in (first, second)]
    finally:
        measurements.uninstall()
    sums = [json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"][0] for data in values]
    assert [metric["data"]["data_points"][0]["value"] for metric in sums] == [3, 2]


def test_sets_of_attributes_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "_MAX_KNOWN", 3)
    measurements.install()
    try:
        reader = InMemoryMetricReader()
        counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test").create_counter("counter")
        for number in range(20):
            counter.add(1, {"n": number % 10})
        assert len(counter.__dict__[measurements._PLACES]._by_key) <= 3
        points = json.loads(reader.get_metrics_data().to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    finally:
        measurements.uninstall()
    assert [point["value"] for point in points[0]["data"]["data_points"]] == [2] * 10
