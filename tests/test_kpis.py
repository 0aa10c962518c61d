"""KPIs: known traffic gives known numbers, worked out by hand."""

from __future__ import annotations

import bisect
import importlib.util
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_search import semconv
from otel_search.context import Caller
from otel_search.kpis import Kpi, Kpis, Visits
from otel_search.kpis.definitions import quantile, up_to
from otel_search.kpis.window import Window
from otel_search.metrics import Merged
from otel_search.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM
from tests import day

BOUNDS = list(semconv.DURATION_BUCKETS)
HOUR = 3600.0


@pytest.fixture(autouse=True)
def no_kpis_remain() -> Iterator[None]:
    yield
    for kpi in Kpi.declared():
        kpi.remove()


class Traffic:
    """A service under the test's control: its requests, its searches, its clock."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._requests: dict[tuple[tuple[str, str], ...], list[float]] = {}
        self._searches: dict[str, float] = {}
        self.others: list[list[Any]] = []

    def requests(self, count: int, duration: float, **labels: str) -> None:
        names = {"status": "http.response.status_code", "error": "error.type", "stream": "search.response.stream"}
        key = tuple(sorted((names[name], value) for name, value in labels.items()))
        counts = self._requests.setdefault(key, [0.0] * (len(BOUNDS) + 1))
        counts[next((place for place, bound in enumerate(BOUNDS) if duration <= bound), len(BOUNDS))] += count

    def searches(self, count: int, outcome: str) -> None:
        self._searches[outcome] = self._searches.get(outcome, 0.0) + count

    def merged(self) -> Merged:
        requests = [
            [[list(each) for each in key], [sum(counts), 0.0, BOUNDS, list(counts), [None] * len(counts)]]
            for key, counts in self._requests.items()
        ]
        searches = [[[["search.outcome", outcome]], [count, None]] for outcome, count in self._searches.items()]
        merged = Merged()
        merged.add(
            {
                "resource": {},
                "families": [
                    ["http.server.request.duration", "s", "", HISTOGRAM, requests],
                    ["search.client.searches", "{search}", "", COUNTER, searches],
                    *self.others,
                ],
            }
        )
        return merged

    directory = None

    def carried_by_others(self) -> list[bytes]:
        return []

    def kpis(self, window: Window | None = None, **options: Any) -> Kpis:
        return Kpis(self, window=window, clock=lambda: self.now, **options)


def values(kpis: Kpis) -> dict[str, float | None]:
    return {name: entry["value"] for name, entry in kpis.report()["kpis"].items()}


def test_the_mix_of_report_c43() -> None:
    traffic = Traffic()
    kpis = traffic.kpis()
    kpis.sample()
    traffic.requests(900, 0.1, status="200")
    traffic.requests(40, 0.01, status="404")
    traffic.requests(20, 0.01, status="422")
    traffic.requests(15, 0.01, status="429")
    traffic.requests(10, 0.3)  # the client left before there was a status
    traffic.requests(10, 0.01, status="500", error="ValueError")
    traffic.requests(5, 3.0, status="503", error="503")
    traffic.now += HOUR
    seen = values(kpis)
    assert seen["availability"] == pytest.approx(1 - 15 / 990, abs=1e-6)
    assert seen["error_rate"] == pytest.approx(15 / 990, abs=1e-6)
    assert seen["aborted_rate"] == pytest.approx(10 / 1000, abs=1e-6)
    assert seen["apdex"] == pytest.approx(900 / 915, abs=1e-6), "failures are fast and satisfy nobody"
    assert seen["request_volume"] == pytest.approx(990)


@pytest.mark.parametrize(
    ("labels", "failed"),
    [
        ({"status": "499"}, False),
        ({"status": "404", "error": "NotFound"}, False),
        ({"error": "starlette.requests.ClientDisconnect"}, False),
        ({"error": "asyncio.exceptions.CancelledError"}, False),
        ({"error": "ValueError"}, True),
        ({"status": "500"}, True),
        ({"status": "504", "error": "504"}, True),
    ],
)
def test_what_is_a_failure_of_the_service(labels: dict[str, str], failed: bool) -> None:
    traffic = Traffic()
    kpis = traffic.kpis()
    kpis.sample()
    traffic.requests(99, 0.1, status="200")
    traffic.requests(1, 0.1, **labels)
    traffic.now += HOUR
    assert (values(kpis)["error_rate"] > 0) is failed  # type: ignore[operator]


def test_streams_are_requests_without_a_latency() -> None:
    traffic = Traffic()
    kpis = traffic.kpis()
    kpis.sample()
    traffic.requests(10, 0.1, status="200")
    traffic.requests(10, 3600, status="200", stream="true")
    traffic.now += HOUR
    seen = values(kpis)
    assert (seen["availability"], seen["apdex"]) == (1, 1)
    assert seen["latency_p99"] is not None
    assert 0.075 <= seen["latency_p99"] <= 0.1


def test_searches_by_what_came_of_them() -> None:
    traffic = Traffic()
    kpis = traffic.kpis()
    kpis.sample()
    for outcome, count in {"hits": 60, "empty": 20, "partial": 10, "timeout": 5, "error": 5}.items():
        traffic.searches(count, outcome)
    traffic.now += HOUR / 2
    seen = values(kpis)
    assert seen["search_volume"] == pytest.approx(200)
    assert seen["zero_result_rate"] == pytest.approx(0.25)
    assert seen["partial_rate"] == pytest.approx(0.15)
    assert seen["search_error_rate"] == pytest.approx(0.05)


def test_a_day_is_seen_an_hour_at_a_time_in_bounded_memory() -> None:
    traffic = Traffic()
    window = Window(clock=lambda: traffic.now)
    kpis = traffic.kpis(window)
    for minute in range(24 * 60):
        kpis.sample()
        hour = minute // 60
        traffic.searches(hour + 1, "hits")
        traffic.searches(1, "empty")
        traffic.now += 60
        if minute % 60 == 59:
            seen = values(kpis)
            assert seen["search_volume"] == pytest.approx((hour + 2) * 60)
            assert seen["zero_result_rate"] == pytest.approx(1 / (hour + 2), abs=1e-6)
    assert len(window._samples) <= 62


def test_what_is_not_known_is_null_with_a_reason() -> None:
    report = Traffic().kpis().report()
    for name, entry in report["kpis"].items():
        assert entry["value"] is None or entry["value"] == 0, name
        assert entry["value"] == 0 or entry["reason"], name
    assert report["kpis"]["availability"]["definition"].startswith("1 - failed / (ok + client errors + failed)")


def test_quantiles_and_shares_are_exact_to_their_bucket() -> None:
    generator = random.Random(7)
    durations = sorted(generator.lognormvariate(-2, 1) for _ in range(10_000))
    counted = []
    lower = 0.0
    for bound in [*BOUNDS, float("inf")]:
        counted.append((bound, float(sum(1 for each in durations if lower < each <= bound))))
        lower = bound
    for share, true in ((0.5, statistics.median(durations)), (0.95, durations[9500]), (0.99, durations[9900])):
        bucket = next(bound for bound in BOUNDS if true <= bound)
        below = max([0.0, *(bound for bound in BOUNDS if bound < bucket)])
        found = quantile(counted, share)
        assert found is not None
        assert below <= found <= bucket
    assert up_to(counted, 0.25) == sum(1 for each in durations if each <= 0.25)


def test_present_values_are_those_of_the_worst() -> None:
    traffic = Traffic()
    health = [
        [[["search.health.component", name]], [value, None]]
        for name, value in {"elasticsearch:a:9200": 2, "elasticsearch:b:9200": 1, "disk": 0}.items()
    ]
    traffic.others = [
        ["search.health.status", "1", "", GAUGE, health],
        ["search.memory.utilization", "1", "", GAUGE, [[[], [0.42, None]]]],
    ]
    seen = values(traffic.kpis())
    assert (seen["elasticsearch_health"], seen["memory_utilization"]) == (1, 0.42)
    assert seen["cpu_utilization"] is None


def test_kpis_of_the_applications_own() -> None:
    Kpi("orders", "rate", "{order}/h", "shop.orders")
    Kpi("basket", "mean", "EUR", "shop.basket")
    Kpi("nothing", "count", "1", "shop.nothing")
    traffic = Traffic()
    orders = ["shop.orders", "", "", COUNTER, [[[["shop", "a"]], [0, None]], [[["shop", "b"]], [0, None]]]]
    basket = ["shop.basket", "", "", HISTOGRAM, [[[], [0, 0.0, [1.0], [0, 0], [None, None]]]]]
    traffic.others = [orders, basket]
    kpis = traffic.kpis()
    kpis.sample()
    traffic.others = [
        ["shop.orders", "", "", COUNTER, [[[["shop", "a"]], [20, None]], [[["shop", "b"]], [10, None]]]],
        ["shop.basket", "", "", HISTOGRAM, [[[], [4, 100.0, [1.0], [0, 4], [None, None]]]]],
    ]
    traffic.now += HOUR / 2
    seen = values(kpis)
    assert (seen["orders"], seen["basket"], seen["nothing"]) == (60, 25, None)
    with pytest.raises(ValueError, match=r"kind='sum' is not accepted; accepted: count \| rate \| mean"):
        Kpi("other", "sum", "1", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["availability", "latency_p95", ""])
def test_the_name_of_a_kpi_of_ours_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"name='{name}' is not accepted"):
        Kpi(name, "count", "1", "shop.orders")
    assert not Kpi.declared()


def test_what_is_no_counter_has_no_number_but_a_reason() -> None:
    Kpi("depth", "count", "1", "queue.depth")
    Kpi("mean", "mean", "1", "shop.orders")
    traffic = Traffic()
    traffic.others = [
        ["queue.depth", "", "", GAUGE, [[[], [7, None]]]],
        ["shop.orders", "", "", COUNTER, [[[], [7, None]]]],
    ]
    kpis = traffic.kpis()
    kpis.sample()
    traffic.now += HOUR / 2
    told = kpis.report()["kpis"]
    assert (told["depth"]["value"], told["mean"]["value"]) == (None, None)
    assert told["depth"]["reason"] == "queue.depth has not been measured, or is no counter or histogram"
    assert told["mean"]["reason"] == "shop.orders has not been measured, or is no histogram"


def test_workers_share_their_window(tmp_path: Path) -> None:
    clock = [0.0]
    first, second = (Window(clock=lambda: clock[0]) for _ in range(2))
    shared = tmp_path / "kpis.window"
    first.sample({"a": 1.0}, shared)
    clock[0] = 30
    second.sample({"a": 2.0}, shared)  # too soon: the other's is there
    assert second.start(shared) == (0.0, {"a": 1.0})
    clock[0] = 60
    second.sample({"a": 3.0}, shared)
    assert [when for when, _ in first._samples] == [0.0]
    assert first.start(shared) == (0.0, {"a": 1.0})
    assert [when for when, _ in first._samples] == [0.0, 60.0]
    assert [path.name for path in tmp_path.iterdir()] == ["kpis.window"]


@pytest.mark.parametrize("left", [b"{", b"7", b"[[1]]", b'[[0, ["a"]]]', b'[[0, {"a": "b"}]]', b'{"a": 1}'])
def test_a_window_that_cannot_be_read_is_said_once_and_begins_anew(
    tmp_path: Path, left: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    first, second = (Window(clock=lambda: clock[0]) for _ in range(2))
    shared = tmp_path / "kpis.window"
    first.sample({"a": 1.0}, shared)
    shared.write_bytes(left)
    assert [first.start(shared) for _ in range(3)] == [(0.0, {"a": 1.0})] * 3
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"the samples of KPIs in {shared} cannot be read, their window begins anew: ")
    clock[0] = 60
    first.sample({"a": 3.0}, shared)
    assert second.start(shared) == (0.0, {"a": 1.0}), "the others have it again"


def test_a_window_is_shared_whatever_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (Window(clock=lambda: 0.0) for _ in range(2))
    shared = tmp_path / "kpis.window"
    first.sample({"a": 1.0, "own.b.sum": float("inf")}, shared)
    assert second.start(shared) == (0.0, {"a": 1.0})
    assert not caplog.records


class Worker(Visits):
    """One of three workers of a scripted day."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(clock=lambda: traffic.now)


def test_a_day_of_three_workers_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic()
    traffic.now = start = 1_000_000 * HOUR
    seen = day.visits(start)
    workers = [Worker(traffic) for _ in range(3)]
    monkeypatch.setattr(traffic, "carried_by_others", lambda: [worker.dump() for worker in workers[1:]], raising=False)
    kpis = Kpis(traffic, workers[0], window=Window(clock=lambda: traffic.now), clock=lambda: traffic.now)
    waiting = iter(seen)
    visit = next(waiting, None)
    for minute in range(24 * 60):
        traffic.now = start + minute * 60
        kpis.sample()
        while visit is not None and visit.time < start + (minute + 1) * 60:
            traffic.now = visit.time
            caller = Caller()
            caller.attributes = {semconv.ENDUSER_PSEUDO_ID: visit.user, semconv.SESSION_ID: visit.session}
            place = int(visit.time * 1000) % 3
            workers[place].visited(caller)
            traffic.requests(1, visit.duration, **({} if visit.status is None else {"status": str(visit.status)}))
            if visit.outcome is not None:
                traffic.searches(1, visit.outcome)
                workers[place].searched(visit.shape, f"search {visit.shape}", visit.duration)
            visit = next(waiting, None)
        if minute == 12 * 60:  # a worker ends, and another one takes its place
            data = workers[2].dump()
            workers[2].clear()
            workers[2] = Worker(traffic)
            workers[2].load(data)
        if minute % 60 == 59 and minute > 8 * 60:
            traffic.now = start + (minute + 1) * 60
            right, found = day.answers(seen, traffic.now - HOUR, traffic.now), values(kpis)
            for name, value in right.items():
                if name.startswith("latency"):
                    assert abs(bisect.bisect_left(BOUNDS, found[name]) - value) <= 1, name  # type: ignore[type-var]
                else:
                    tolerance = 0.05 if name == "unique_users" else 1e-3
                    assert found[name] == pytest.approx(value, rel=tolerance), (name, minute)
            shapes = Counter(v.shape for v in seen if v.outcome and traffic.now - HOUR <= v.time < traffic.now)
            top: Any = found["top_query_shapes"]
            assert {each["shape"]: each["searches"] for each in top} == shapes
            slowest: Any = found["slowest_query_shapes"]
            times = [each["mean_seconds"] for each in slowest]
            assert times == sorted(times, reverse=True)
    for worker in workers:
        worker.clear()


def test_visitors_take_bounded_memory_and_stay_within_their_error() -> None:
    traffic = Traffic()
    traffic.now = start = 1_000_000 * HOUR
    visits = Visits(clock=lambda: traffic.now)
    caller = Caller()
    for number in range(60_000):
        traffic.now = start + number * 0.05  # 50 minutes
        user = f"{number % 20_000:032x}"
        caller.attributes = {semconv.ENDUSER_PSEUDO_ID: user, semconv.SESSION_ID: user}
        visits.visited(caller)
        visits.searched(f"{number % 5000}", "search things", 0.01)
    found = visits.report()
    assert len(visits.dump()) < 600_000
    visits.clear()
    assert found["unique_users"] == pytest.approx(20_000, rel=0.06)
    # Each session has three requests 1000 seconds apart.
    assert found["session_length"] == pytest.approx(2000, rel=0.001)
    assert len(found["top_query_shapes"]) <= 10


def test_without_the_library_and_without_callers_there_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic()
    names = ("unique_users", "session_length", "top_query_shapes", "slowest_query_shapes")
    nobody = Kpis(traffic, Visits(clock=lambda: traffic.now), clock=lambda: traffic.now).report()["kpis"]
    assert all(nobody[name]["value"] is None for name in names)
    assert nobody["unique_users"]["reason"].startswith("no request said who its user is")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    without = Kpis(traffic, Visits(clock=lambda: traffic.now), clock=lambda: traffic.now).report()["kpis"]
    assert {without[name]["reason"] for name in names} == {"needs datasketches: pip install 'otel-search[kpis]'"}


def test_what_cannot_be_read_of_another_worker_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    visits = Visits()
    caller = Caller()
    caller.attributes = {semconv.ENDUSER_PSEUDO_ID: "a"}
    visits.visited(caller)
    others = [b"", b"[]", b'{"users": {"1": "garbage"}}', b'{"users": 3}']
    assert [visits.report(others, tmp_path)["unique_users"] for _ in range(2)] == [1, 1]
    visits.load(b"{")
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(
        f"what another worker knew of its visitors (<number>.carried in {tmp_path}) cannot be read, KPIs go without it: "
    )
    visits.clear()
    visits.visited(caller)
    assert visits.report() == {}
