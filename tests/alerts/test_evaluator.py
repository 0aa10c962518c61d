"""Arithmetic at the edges: nothing, the first of its kind, beginnings anew, and what is no number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import orjson
import pytest

from otel_search.alerts import measures
from otel_search.alerts.conditions import parse
from otel_search.alerts.evaluator import Evaluator, Value, quantile
from otel_search.alerts.examples import INSTANCE, merged_of
from otel_search.alerts.expression import Expression, Increase
from otel_search.alerts.history import Track
from otel_search.alerts.saved import UnreadableError
from otel_search.kpis.totals import of_merged
from otel_search.metrics import Merged
from otel_search.metrics.merging import Family
from otel_search.metrics.snapshot import HISTOGRAM

SERVICE = (("instance", INSTANCE),)


class Watch:
    """One expression over some samples, a minute apart."""

    def __init__(self, expression: Expression | str, by: tuple[str, ...] = ()) -> None:
        self.expression = parse(expression) if isinstance(expression, str) else expression
        self.by = by
        self.now = 0.0
        self.evaluator = Evaluator([(self.expression, by)])

    def see(self, values: Mapping[str, float | None], *, since_start: bool = False) -> dict[str, float]:
        self.now += 60
        self.evaluator.observe(self.now, merged_of(values), since_start=since_start)
        return self.values()

    def values(self) -> dict[str, float]:
        found = self.evaluator.evaluate(self.expression, self.by, self.now)
        return {",".join(value for _, value in group): value.number for group, value in found.items()}


def test_what_was_counted_before_the_first_look_is_no_growth() -> None:
    watch = Watch("increase(a_total[5m]) >= 0")
    assert watch.see({"a_total": 1000}) == {}
    assert watch.see({"a_total": 1003}) == {"": 3}


def test_what_was_counted_since_the_start_of_the_server_is_growth() -> None:
    watch = Watch("increase(a_total[5m]) >= 0")
    assert watch.see({"a_total": 7}, since_start=True) == {"": 7}


def test_the_first_error_counts() -> None:
    watch = Watch("increase(a_total[5m]) >= 0")
    assert watch.see({}) == {}
    assert watch.see({"a_total": 1}) == {"": 1}


def test_a_counter_that_begins_anew_has_grown_by_what_it_has() -> None:
    watch = Watch("increase(a_total[10m]) >= 0")
    for value in (90, 100, 4):
        found = watch.see({"a_total": value})
    assert found == {"": 14}


def test_growth_leaves_the_window() -> None:
    watch = Watch("increase(a_total[5m]) >= 0")
    seen = [watch.see({"a_total": value}).get("") for value in (0, 9, *[9] * 8)]
    assert seen == [None, 9, 9, 9, 9, 9, 0, 0, 0, 0]


def test_nothing_of_nothing_is_no_rate() -> None:
    for comparison in ("> 0", "< 1", "== 0", ">= 0"):
        watch = Watch(f'increase(a_total{{x="1"}}[5m]) / increase(a_total[5m]) {comparison}')
        for _ in range(3):
            assert watch.see({'a_total{x="1"}': 5, 'a_total{x="2"}': 5}) == {}


def test_a_part_that_is_missing_is_no_rate_of_nothing() -> None:
    watch = Watch('increase(a_total{x="1"}[5m]) / increase(a_total[5m]) >= 0')
    watch.see({'a_total{x="2"}': 5})
    assert watch.see({'a_total{x="2"}': 10}) == {}


def test_what_is_no_number_compares_with_nothing() -> None:
    for comparison in ("> 0", "< 1", "!= 5"):
        assert Watch(f"max(a) {comparison}").see({"a": math.nan}) == {}
    assert Watch("max(a) > 0").see({"a": math.inf}) == {"": math.inf}


def test_a_counter_that_is_no_number_for_a_moment_spoils_nothing() -> None:
    watch = Watch("increase(a_total[5m]) >= 0")
    for value in (1, 2, math.nan, 4):
        found = watch.see({"a_total": value})
    assert found == {"": 5}, "a series that comes again counts from nothing"


def test_a_series_that_is_not_there_is_absent_and_nothing_else() -> None:
    absent, present = Watch("absent(a[3m])"), Watch("max(a) >= 0")
    assert absent.see({}) == {"": 1}
    assert present.see({}) == {}
    assert absent.see({"a": 0}) == {}
    assert present.see({"a": 0}) == {"": 0}
    assert [absent.see({}) for _ in range(3)] == [{}, {}, {"": 1}]
    assert present.see({}) == {}


def test_each_group_has_its_value() -> None:
    watch = Watch("increase(a_total[5m]) > 1", ("queue",))
    watch.see({'a_total{queue="x", n="1"}': 0, 'a_total{queue="x", n="2"}': 0, 'a_total{queue="y"}': 0})
    found = watch.see({'a_total{queue="x", n="1"}': 1, 'a_total{queue="x", n="2"}': 1, 'a_total{queue="y"}': 1})
    assert found == {"x": 2}


def test_means_of_gauges() -> None:
    watch = Watch("max(a[3m]) >= 0")
    assert [watch.see({"a": value})[""] for value in (0, 6, 6, 6)] == [0, 3, 4, 6]


def test_restarts_are_seen_where_a_series_goes_back() -> None:
    watch = Watch("resets(up_seconds[5m]) >= 0")
    for value in (100, 160, 3, 63, 2):
        found = watch.see({"up_seconds": value})
    assert found == {"": 2}


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, {1: 10, 2: 20, math.inf: 20}, 1),
        (0.75, {1: 10, 2: 20, math.inf: 20}, 1.5),
        (0.5, {1: 10, math.inf: 10}, 0.5),
        (0.99, {1: 0, 2: 0, math.inf: 20}, 2),  # beyond the last bound nothing is known
        (0.5, {1: 0, math.inf: 0}, math.nan),
        (0.5, {1: 5}, math.nan),
        (0.5, {}, math.nan),
        (1.0, {1: 10, 2: 20, math.inf: 20}, 2),
        (0.0, {1: 10, 2: 20, math.inf: 20}, 0),
    ],
)
def test_quantiles(share: float, buckets: dict[float, float], expected: float) -> None:
    assert quantile(share, buckets) == pytest.approx(expected, nan_ok=True)


def test_a_value_knows_the_trace_of_one_that_made_it() -> None:
    merged = Merged()
    exemplar = [0.1, 59.0, "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"]
    points = {(("http.response.status_code", "500"),): [2, 0.2, [], [2], [exemplar]]}
    merged.families["http.server.request.duration"] = Family("http.server.request.duration", "s", "", HISTOGRAM, points)
    expression = parse("increase(http_server_request_duration_seconds_count[5m]) > 0")
    evaluator = Evaluator([(expression, ())])
    evaluator.observe(60.0, merged, since_start=True)
    assert evaluator.evaluate(expression, (), 60.0) == {(): Value(2.0, (59.0, exemplar[2], exemplar[3]))}
    for minute in range(2, 8):
        evaluator.observe(minute * 60.0, merged)
    assert evaluator.evaluate(expression, (), 420.0) == {}, "and it is not of interest for ever"


def test_another_process_goes_on_with_the_sums() -> None:
    text = "increase(a_total[10m]) >= 0"
    one, other = Watch(text), Watch(text)
    for value in (0, 5, 9):
        one.see({"a_total": value})
    other.evaluator.restore(orjson.loads(orjson.dumps(one.evaluator.state())))
    other.now = one.now
    assert other.see({"a_total": 2}, since_start=True) == {"": 11}
    assert other.see({"a_total": 3}) == {"": 12}


@pytest.mark.parametrize("state", [{}, {"growth gone_total{} by ": 7}])
def test_what_is_not_watched_any_more_is_left_out(state: dict[str, object]) -> None:
    watch = Watch("increase(a_total[10m]) >= 0")
    watch.evaluator.restore(state)
    watch.see({"a_total": 2})
    assert watch.see({"a_total": 3}) == {"": 1}


@pytest.mark.parametrize(
    "left", [7, {}, {"tracks": 5, "last": []}, {"tracks": [[[], [[1, 2], [3]]]], "last": []}, {"tracks": []}]
)
def test_what_cannot_be_gone_on_with_is_an_error_and_changes_nothing(left: object) -> None:
    watch = Watch("increase(a_total[10m]) + increase(b_total[10m]) >= 0")
    other = Watch("increase(a_total[10m]) + increase(b_total[10m]) >= 0")
    for value in (0, 5):
        other.see({"a_total": value, "b_total": 0})
    state = other.evaluator.state() | {"growth b_total{} by ": left}
    with pytest.raises(UnreadableError, match=r"the sums of 'growth b_total\{\} by ' do not fit"):
        watch.evaluator.restore(state)
    watch.see({"a_total": 2, "b_total": 0})
    assert watch.see({"a_total": 3, "b_total": 0}) == {"": 1}


def test_an_infinite_gauge_does_not_spoil_what_is_left() -> None:
    text = "avg(a[10m]) >= 0"
    one, other = Watch(text), Watch(text)
    for value in (1, float("inf"), 3):
        one.see({"a": value})
    other.evaluator.restore(orjson.loads(orjson.dumps(one.evaluator.state())))
    other.now = one.now
    assert other.see({"a": 5}) == {"": 3}


def test_rules_that_come_later_do_not_count_what_was_before() -> None:
    first, later = parse("increase(a_total[5m]) >= 0"), parse("increase(b_total[5m]) >= 0")
    evaluator = Evaluator([(first, ())])
    evaluator.observe(60.0, merged_of({"a_total": 1, "b_total": 1000}))
    both = Evaluator([(first, ()), (later, ())])
    both.take_over(evaluator)
    both.observe(120.0, merged_of({"a_total": 3, "b_total": 1001}))
    assert both.evaluate(first, (), 120.0) == {(): Value(2.0)}
    assert both.evaluate(later, (), 120.0) == {}
    both.observe(180.0, merged_of({"a_total": 3, "b_total": 1002}))
    assert both.evaluate(later, (), 180.0) == {(): Value(1.0)}


def test_three_days_are_some_hundred_samples_and_exact_to_a_hundredth() -> None:
    day = 86_400.0
    track = Track(3 * day)
    for step in range(int(4 * day / 15)):
        track.add(step * 15.0, step * 15.0)
    now = track.times[-1]
    assert len(track.times) < 1500
    for window in (300.0, 3600.0, 6 * 3600.0, day, 3 * day):
        growth = track.growth(now, window)
        assert growth == pytest.approx(window, rel=0.03)


STATUSES = ("", "200", "302", "404", "422", "429", "499", "500", "503")
ERRORS = ("", "500", "ValueError", "starlette.requests.ClientDisconnect", "CancelledError", "client_disconnected")


@pytest.mark.parametrize("left", ["", "true"])
def test_what_fails_is_what_the_kpis_say_fails(left: str) -> None:
    """One definition: 404 and clients that left lower no availability, and wake nobody."""
    for status, error in itertools.product(STATUSES, ERRORS):
        merged = Merged()
        labels = {"http.response.status_code": status, "error.type": error, "search.client.left": left}
        key = tuple((name, value) for name, value in labels.items() if value)
        family = Family("http.server.request.duration", "s", "", HISTOGRAM, {key: [1, 0.1, [], [1], [None]]})
        merged.families[family.name] = family
        totals = of_merged(merged)
        failed, served = Increase(measures.FAILED, 300), Increase(measures.SERVED, 300)
        evaluator = Evaluator([(failed, ()), (served, ())])
        evaluator.observe(0.0, merged, since_start=True)
        counted = [evaluator.evaluate(each, (), 0.0).get((), Value(0.0)).number for each in (failed, served)]
        kpi_failed = totals.get("http.failed", 0.0)
        kpi_served = kpi_failed + totals.get("http.ok", 0.0) + totals.get("http.client_error", 0.0)
        assert counted == [kpi_failed, kpi_served], labels
