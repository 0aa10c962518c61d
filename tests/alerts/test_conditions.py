"""Conditions as text: what is accepted, what it becomes in PromQL, and what is said of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_search.alerts.conditions import parse, seconds_of
from otel_search.alerts.expression import Comparison, Increase, threshold
from otel_search.alerts.promql import duration, promql


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max(queue_depth) > 5", "max by (job, deployment_environment_name) (queue_depth) > 5"),
        (
            'avg(queue_depth{queue=~"a|b"}[1h30m]) <= -0.5',
            'avg by (job, deployment_environment_name) (avg_over_time(queue_depth{queue=~"a|b"}[1h30m])) <= -0.5',
        ),
        ("absent(orders_total[5m])", "absent_over_time(orders_total[5m])"),
        (
            "resets(x[5m]) > 1 and count(x) == 2",
            (
                "sum by (job, deployment_environment_name) (resets(x[5m])) > 1\n"
                "and count by (job, deployment_environment_name) (x) == 2"
            ),
        ),
        (
            "(max(a) - min(a)) * 2 / (max(b) / max(c)) > 1",
            (
                "(max by (job, deployment_environment_name) (a) - min by (job, deployment_environment_name) (a)) * 2 / "
                "(max by (job, deployment_environment_name) (b) / max by (job, deployment_environment_name) (c)) > 1"
            ),
        ),
    ],
)
def test_a_condition_in_promql(text: str, expected: str) -> None:
    assert promql(parse(text)) == expected


def test_growth_counts_the_first_value_of_a_series_too() -> None:
    assert promql(parse("rate(orders_total[5m]) > 1"), ("queue",)) == (
        "sum by (job, deployment_environment_name, queue) (\n"
        "  orders_total\n"
        "    unless orders_total offset 5m\n"
        "    and on (job, instance) target_info offset 5m\n"
        "  or increase(orders_total[5m])\n"
        ") / 300 > 1"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a function is needed after '', not 'the end'"),
        ("up > 1", "one of increase, rate, resets, absent, quantile, max, min, sum, avg, count is needed"),
        ("increase(orders_total) > 1", "a window such as [5m] is needed after 'increase(orders_total'"),
        ("increase(orders_total[5m])", "a comparison is needed"),
        ("max(a) > max(b)", "a number is needed after 'max(a) >', not 'max'"),
        ("max(a) > 1 or max(b) > 1", "`and` or the end is needed after 'max(a) > 1', not 'or'"),
        ('max(a{b="c) > 1', "is not understood"),
        ('max(a{b=~"("}) > 1', "is no regular expression"),
        ("quantile(2, a_bucket[5m]) > 1", "a share is 0 to 1, not 2"),
        ("max(a[60d]) > 1", "30 days at most"),
        ("max(a[0s]) > 1", "a window is more than nothing"),
        (f"{'(' * 60}1{')' * 60} > 1", "less depth is needed"),
        ("max(a) > 1" + " " * 5000 + "x", "longer than 4000 characters"),
    ],
)
def test_what_is_no_condition_is_told_where(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert reason in str(caught.value)


@given(st.text(alphabet='max(a)[5m]{="b"} >0.1andincrease/*+-,', max_size=60))
def test_whatever_is_written_is_a_condition_or_a_value_error(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert promql(found)


def test_the_value_of_a_condition_is_compared_with_its_threshold() -> None:
    condition = parse("increase(a_total[5m]) > 7 and increase(b_total[5m]) > 3")
    assert threshold(condition) == 7
    first = parse("increase(a_total[5m]) > 7")
    assert isinstance(first, Comparison)
    assert isinstance(first.left, Increase)
    assert first.left.seconds == 300


def test_durations_are_read_and_written_alike() -> None:
    for text in ("5m", "1h30m", "250ms", "3d", "1m30s"):
        assert duration(seconds_of(text)) == text
    with pytest.raises(ValueError, match="'5 minutes' is no duration"):
        seconds_of("5 minutes")
