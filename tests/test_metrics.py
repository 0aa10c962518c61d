"""`/metrics`: names as Prometheus has them, text it can read, and the sum of all workers."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_search import semconv
from otel_search.kpis.totals import of_merged
from otel_search.metrics import exposition, snapshot, system, workers
from otel_search.metrics.merging import Merged
from otel_search.metrics.names import label_name, metric_name
from otel_search.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM, UP_DOWN


@pytest.fixture
def provider() -> MeterProvider:
    return MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)


def read(provider: MeterProvider, monkeypatch: pytest.MonkeyPatch) -> snapshot.Snapshot:
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    return snapshot.Reading().snapshot()


def samples(text: bytes, *, openmetrics: bool = False) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    parse = parse_openmetrics if openmetrics else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def of(*families: list[Any], resource: dict[str, str] | None = None) -> snapshot.Snapshot:
    return {"resource": resource or {}, "families": [list(family) for family in families]}


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.request.duration", "s", HISTOGRAM, ("http_server_request_duration_seconds", "seconds")),
        ("requests_total", "1", COUNTER, ("requests", "")),
        ("memory_bytes", "By", GAUGE, ("memory_bytes", "bytes")),
        ("search.client.searches", "{search}", COUNTER, ("search_client_searches", "")),
        ("process.cpu.utilization", "1", GAUGE, ("process_cpu_utilization_ratio", "")),
        ("hit.ratio", "1", GAUGE, ("hit_ratio", "")),
        ("speed", "m/s", GAUGE, ("speed_meters_per_second", "")),
        ("2xx.count", "", UP_DOWN, ("_2xx_count", "")),
    ],
)
def test_names_are_those_of_prometheus_own_receiver(name: str, unit: str, kind: str, expected: tuple[str, str]) -> None:
    assert metric_name(name, unit, kind) == expected


def test_labels_that_would_be_one_are_joined() -> None:
    assert label_name("http.route") == "http_route"
    assert label_name("1st") == "key_1st"
    assert exposition.labels_of([("a.b", "1"), ("a_b", "2")]) == {"a_b": "1;2"}


def test_every_metric_of_the_schema_has_a_name_of_its_own() -> None:
    kinds = {"counter": COUNTER, "histogram": HISTOGRAM, "gauge": GAUGE, "up_down_counter": UP_DOWN}
    names = [metric_name(metric.name, metric.unit, kinds[metric.instrument])[0] for metric in semconv.METRICS]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "total" in name or name.count("seconds") > 1]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", exposition.TEXT),
        ("*/*", exposition.TEXT),
        ("text/html", exposition.TEXT),
        ("text/plain;version=0.0.4", exposition.TEXT),
        ("application/openmetrics-text", exposition.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", exposition.OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"; q=0.5', exposition.OPENMETRICS),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", exposition.TEXT),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            exposition.OPENMETRICS,
        ),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.9", exposition.TEXT),
        ("application/openmetrics-text;version=9.9", exposition.TEXT),
        ("application/openmetrics-text;q=0", exposition.TEXT),
        ("application/openmetrics-text;q=x;;=,", exposition.TEXT),
    ],
)
def test_the_format_is_the_one_that_is_wanted_most(accept: str, expected: str) -> None:
    assert exposition.content_type(accept) == expected


def test_two_scopes_with_one_metric_do_not_swap_labels(
    provider: MeterProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.get_meter("one").create_counter("calls").add(1, {"zone": "a", "kind": "x"})
    provider.get_meter("two").create_counter("calls").add(2, {"kind": "y"})
    provider.get_meter("three").create_counter("calls").add(4, {"kind": "y"})
    merged = Merged()
    merged.add(read(provider, monkeypatch))
    seen = samples(exposition.render(merged, exposition.TEXT))
    assert seen["calls_total", (("kind", "x"), ("zone", "a"))] == 1
    assert seen["calls_total", (("kind", "y"),)] == 6


def test_help_and_type_come_once_and_exemplars_in_openmetrics(
    provider: MeterProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = provider.get_meter("m")
    histogram = semconv.HTTP_DURATION.on(meter)
    semconv.SEARCHES.on(meter).add(3, {"search.outcome": 'a "quoted"\\ \n value'})
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("request") as span:
        histogram.record(0.02, {"http.route": "/a"})
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    histogram.record(0.7, {"http.route": "/b"})
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    reading = snapshot.Reading()
    for _ in range(2):  # the second time, the exemplar is known from the first
        merged = Merged()
        merged.add(reading.snapshot())
        text = exposition.render(merged, exposition.OPENMETRICS).decode()
        assert text.endswith("# EOF\n")
        assert text.count("# TYPE http_server_request_duration_seconds histogram") == 1
        assert text.count("# UNIT http_server_request_duration_seconds seconds") == 1
        line = next(line for line in text.splitlines() if "/a" in line and 'le="0.025"' in line)
        assert f'trace_id="{trace_id}"' in line
    assert samples(text.encode(), openmetrics=True)
    plain = exposition.render(merged, exposition.TEXT)
    assert b"# {" not in plain
    assert samples(plain)["search_client_searches_total", (("search_outcome", 'a "quoted"\\ \n value'),)] == 3


def test_what_is_counted_is_added_and_what_is_observed_stays_with_its_worker() -> None:
    def worker(count: float, memory: float, busy: float) -> snapshot.Snapshot:
        return of(
            ["requests", "{request}", "", COUNTER, [[[["a", "b"]], [count, None]]]],
            ["memory", "By", "", UP_DOWN, [[[], [memory, None]]]],
            ["busy", "1", "", GAUGE, [[[], [busy, None]]]],
            ["depth.of.queue", "", "", GAUGE, [[[], [busy * 10, None]]]],
            ["system.cpu.utilization", "1", "", GAUGE, [[[], [0.5, None]]]],
            ["duration", "s", "", HISTOGRAM, [[[], [2, 3.0, [1.0], [1, 1], [None, None]]]]],
        )

    merged = Merged([("depth.*", "max")])
    merged.add(worker(1, 100, 0.1), worker="0")
    merged.add(worker(2, 200, 0.2), worker="1")
    merged.add(worker(4, 400, 0.4), living=False, worker="2")
    seen = samples(exposition.render(merged, exposition.TEXT))
    assert seen["requests_total", (("a", "b"),)] == 7
    assert seen["memory_bytes", ()] == 300
    assert seen["busy_ratio", (("worker", "0"),)] == 0.1
    assert seen["busy_ratio", (("worker", "1"),)] == 0.2
    assert ("busy_ratio", (("worker", "2"),)) not in seen
    assert seen["depth_of_queue", ()] == 2
    assert seen["system_cpu_utilization_ratio", ()] == 0.5
    assert seen["duration_seconds_count", ()] == 6
    assert seen["duration_seconds_bucket", (("le", "+Inf"),)] == 6


def test_a_place_taken_over_keeps_its_counts(tmp_path: Path) -> None:
    def counting(value: int) -> snapshot.Snapshot:
        return of(["requests", "", "", COUNTER, [[[], [value, None]]]], ["up", "", "", GAUGE, [[[], [1, None]]]])

    for expected in (5, 10, 15):
        place = workers._Place(tmp_path, lambda: counting(5))
        merged = Merged()
        place.read_all(merged)
        assert merged.families["requests"].points[()][0] == expected
        assert list(merged.families["up"].points) == [(("worker", "0"),)]
        place._held.close()  # as the kernel does when the process ends
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "0.lock", "0.sock"]


def test_a_file_that_cannot_be_read_is_nothing_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "0.json").write_bytes(b"[{")
    assert workers._parts(tmp_path / "0.json") == workers._parts(tmp_path / "1.json") == []
    (tmp_path / "1.lock").touch()
    place = workers._Place(tmp_path, lambda: of(["requests", "", "", COUNTER, [[[], [5, None]]]]))
    merged = Merged()
    place.read_all(merged)
    assert merged.families["requests"].points[()][0] == 5
    place._held.close()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "otel_search.metrics"]
    assert said.endswith(f"{tmp_path}/0.json")


def test_a_delta_reader_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.metrics import Counter
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    theirs = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
    provider = MeterProvider(metric_readers=[theirs], shutdown_on_exit=False)
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    reading = snapshot.Reading()
    assert reading.prepare()
    counter = provider.get_meter("m").create_counter("calls")
    for expected in (1, 2, 3):
        counter.add(1)
        family = next(family for family in reading.snapshot()["families"] if family[0] == "calls")
        assert family[4] == [[[], [expected, None]]]
    assert theirs.get_metrics_data() is not None


def test_compression_is_for_those_who_want_it(monkeypatch: pytest.MonkeyPatch, provider: MeterProvider) -> None:
    from otel_search.metrics import Metrics

    counter = provider.get_meter("m").create_counter("calls", description="a long description " * 20)
    for number in range(50):
        counter.add(1, {"number": number})
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    plain, kind, headers = Metrics().text("", "identity")
    assert (kind, headers.get("content-encoding")) == (exposition.TEXT, None)
    packed, _, headers = Metrics().text("", "deflate, gzip;q=1.0")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert Metrics().text("", "br, GZIP; q=0.5")[2]["content-encoding"] == "gzip"
    for none in ("gzip;q=0", "gzip; q=0.0", "x-gzip", ""):
        assert "content-encoding" not in Metrics().text("", none)[2]


def test_a_counter_that_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> None:
        raise FileNotFoundError("/proc/net/dev")

    monkeypatch.setitem(system._READ_BY, "system.network.io", gone)
    monkeypatch.setitem(system._READ_BY, "system.disk.io", lambda: None)
    with caplog.at_level("INFO", "otel_search.metrics"):
        found = system.available()
    assert set(system.SYSTEM_METRICS) - set(found) == {"system.network.io", "system.disk.io"}
    assert "left out: system.network.io, system.disk.io" in caplog.text


def test_processor_time_counts_against_what_the_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0, "used": 0.0}
    monkeypatch.setattr(system.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(system.time, "process_time", lambda: clock["used"])
    monkeypatch.setattr(system.container, "cpus", lambda: 0.5)
    limits = system.Limits()
    assert limits.cpu_utilization() == 0
    clock.update(now=10.0, used=4.0)
    assert limits.cpu_utilization() == pytest.approx(0.8)
    clock.update(now=10.5, used=4.5)
    assert limits.cpu_utilization() == pytest.approx(0.8), "too soon for another look"


def exponential_provider(**views: Any) -> MeterProvider:
    reader = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
    return MeterProvider(metric_readers=[reader], shutdown_on_exit=False, **views)


def test_exponential_histograms_have_the_buckets_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = exponential_provider()
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    reading = snapshot.Reading()
    histogram = semconv.HTTP_DURATION.on(provider.get_meter("a"))
    other = provider.get_meter("b").create_histogram("steps")
    chance = random.Random(7)
    durations: list[float] = []
    before = [0.0] * 15
    # Wider and wider: the SDK makes its buckets wider as it goes, and what was told may not go back.
    for scale in (0.001, 0.01, 0.1, 1.0, 10.0):
        for _ in range(200):
            durations.append(chance.random() * scale)
            histogram.record(durations[-1])
        families = {family[0]: family for family in reading.snapshot()["families"]}
        ((_, value),) = families["http.server.request.duration"][4]
        cumulated = list(itertools.accumulate(value[3]))
        assert all(now >= then for now, then in zip(cumulated, before, strict=True)), "never backwards"
        before = [float(each) for each in cumulated]
    assert value[0] == len(durations) == cumulated[-1]
    assert value[1] == pytest.approx(sum(durations))
    assert value[2] == list(semconv.DURATION_BUCKETS)
    for bound, told in zip(value[2], cumulated, strict=False):
        # At most too low by what lies in one of the SDK's 160 buckets over so many decades.
        least, most = (sum(each <= bound * factor for each in durations) for factor in (0.8, 1.0))
        assert least <= told <= most, bound
    for number in (0, 0, 7, 1e9):
        other.record(number)
    ((_, value),) = next(family for family in reading.snapshot()["families"] if family[0] == "steps")[4]
    assert (value[0], sum(value[3])) == (4, 4)
    assert next(iter(itertools.accumulate(value[3]))) == 2, "two zeros"
    merged = Merged()
    for _ in range(2):
        merged.add(reading.snapshot())
    text = exposition.render(merged, exposition.TEXT)
    assert samples(text)["steps_count", ()] == 8
    assert samples(text)["http_server_request_duration_seconds_count", ()] == 2 * len(durations)
    assert samples(exposition.render(merged, exposition.OPENMETRICS), openmetrics=True)


@pytest.mark.parametrize("aggregation", [
    DropAggregation(), SumAggregation(), LastValueAggregation(), ExplicitBucketHistogramAggregation([]),
    ExplicitBucketHistogramAggregation([1, 2]), ExponentialBucketHistogramAggregation(max_size=2),
])  # fmt: skip
def test_views_of_the_users_break_nothing(monkeypatch: pytest.MonkeyPatch, aggregation: Any) -> None:
    view = View(instrument_name="*", aggregation=aggregation, attribute_keys={"http.response.status_code"})
    provider = MeterProvider(metric_readers=[InMemoryMetricReader()], views=[view], shutdown_on_exit=False)
    meter = provider.get_meter("a")
    for number in range(10):
        semconv.HTTP_DURATION.on(meter).record(number, {"http.response.status_code": 200, "http.route": f"/{number}"})
        with contextlib.suppress(Exception):
            semconv.SEARCHES.on(meter).add(1, {"search.outcome": "hits"})
    merged = Merged()
    for _ in range(2):
        merged.add(read(provider, monkeypatch))
    told = samples(exposition.render(merged, exposition.TEXT))
    openmetrics = samples(exposition.render(merged, exposition.OPENMETRICS), openmetrics=True)
    for found in (told, openmetrics):
        counts = [value for (name, _), value in found.items() if name == "http_server_request_duration_seconds_count"]
        assert counts in ([], [20])
    assert all(isinstance(value, float) for value in of_merged(merged, ["http.server.request.duration"]).values())


def test_a_view_that_only_one_worker_has_yet_keeps_counts_and_common_buckets() -> None:
    def worker(bounds: list[float], counts: list[int]) -> snapshot.Snapshot:
        value = [sum(counts), 5.0, bounds, counts, [None] * len(counts)]
        return of(["took", "s", "", HISTOGRAM, [[[], value]]])

    merged = Merged()
    merged.add(worker([1.0, 2.0, 4.0], [1, 2, 3, 4]))
    merged.add(worker([2.0, 3.0], [10, 20, 30]))
    assert merged.families["took"].points[()] == [70, 10.0, [2.0], [13, 57], [None, None]]


def test_seconds_and_milliseconds_of_one_name_are_two_metrics() -> None:
    merged = Merged()
    merged.add(of(["took", "s", "", COUNTER, [[[], [1, None]]]], ["took", "ms", "", COUNTER, [[[], [900, None]]]]))
    merged.add(of(["took", "ms", "", COUNTER, [[[], [100, None]]]]))
    told = samples(exposition.render(merged, exposition.TEXT))
    assert (told["took_seconds_total", ()], told["took_milliseconds_total", ()]) == (1, 1000)
