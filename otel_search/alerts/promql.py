"""Expressions as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_search.alerts.expression import (
    Absent,
    Arithmetic,
    Both,
    Comparison,
    Count,
    Expression,
    Gauge,
    Increase,
    Number,
    Quantile,
    Resets,
    Series,
    leaves,
)

SERVICE = ("job", "deployment_environment_name")
"""The labels that tell services in one Prometheus apart. A label that no series has changes nothing."""

_SINCE_BEFORE = "target_info"
"""A series that each instance has from its start, whichever way its metrics come."""


def promql(expression: Expression, by: tuple[str, ...] = (), *, recorded: bool = False) -> str:
    """An expression in PromQL.

    Args:
        expression: The expression.
        by: The labels whose values make a group, beside those of the service.
        recorded: Whether sums that have a name are read from recording rules.
    """
    return _text(expression, by, recorded, 0)


def recordings(expressions: Iterable[tuple[Expression, tuple[str, ...]]]) -> Iterator[tuple[str, str]]:
    """The recording rules that `recorded` expressions read: each name once, with its PromQL.

    Args:
        expressions: With their labels.
    """
    seen = set()
    for expression, by in expressions:
        for leaf in leaves(expression):
            if isinstance(leaf, Increase | Quantile) and leaf.series.alias:
                name, labels = _record(leaf, by)
                if name not in seen:
                    seen.add(name)
                    yield name, _increase(leaf.series, leaf.seconds, labels)


def duration(seconds: float) -> str:
    """Seconds as Prometheus writes them: `90s` is `1m30s`."""
    rest = round(seconds * 1000)
    words = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def number(value: float) -> str:
    """A number as Prometheus reads it."""
    return f"{value:.12g}"


def _text(expression: Expression, by: tuple[str, ...], recorded: bool, level: int) -> str:
    """The PromQL; `level` is how tightly the context binds: 0 nothing, 1 `and`, 2 a comparison, 3 arithmetic."""
    match expression:
        case Both(left, right):
            own, text = 1, f"{_text(left, by, recorded, 1)}\nand {_text(right, by, recorded, 2)}"
        case Comparison(op, left, right):
            own, text = 2, f"{_text(left, by, recorded, 2)} {op} {number(right.value)}"
        case Arithmetic(op, left, right):
            own = 4 if op in "*/" else 3
            text = f"{_text(left, by, recorded, own)} {op} {_text(right, by, recorded, own + 1)}"
        case Number(value):
            own, text = 9, number(value)
        case Increase(series, _) if recorded and series.alias:
            own, text = 9, _record(expression, by)[0]
        case Increase(series, seconds):
            own, text = 9, _increase(series, seconds, by)
        case Quantile(share, series, seconds):
            inner = _record(expression, by)[0] if recorded and series.alias else _increase(series, seconds, ("le", *by))
            own, text = 9, f"histogram_quantile({number(share)}, {inner})"
        case Resets(series, seconds):
            own, text = 9, _over("sum", by, _each(series, f"resets({{}}[{duration(seconds)}])"))
        case Gauge(how, series, seconds):
            each = f"avg_over_time({{}}[{duration(seconds)}])" if seconds else "{}"
            own, text = 9, _over(how, by, _each(series, each))
        case Count(series, seconds):
            each = f"count_over_time({{}}[{duration(seconds)}])" if seconds else "{}"
            own, text = 9, _over("count", by, _each(series, each))
        case Absent(series, seconds):
            own, text = 9, f"absent_over_time({_selector(series.name, series.any_of[0])}[{duration(seconds)}])"
    return f"({text})" if own < level else text


def _record(leaf: Increase | Quantile, by: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    labels = ("le", *by) if isinstance(leaf, Quantile) else by
    return f"{'_'.join(('job', *labels))}:{leaf.series.alias}:increase{duration(leaf.seconds)}", labels


def _increase(series: Series, seconds: float, by: tuple[str, ...]) -> str:
    """The growth of counters, first values included.

    `increase()` takes the first value of a series for what was there before, so it does not see the
    errors of an instance that had none until now, and all of them may have come between two scrapes.
    A series that an instance has now, and did not have a window ago when it was there already, has
    grown by its value.
    """
    window = duration(seconds)
    each = [
        f"{selector}\n"
        f"  unless {selector} offset {window}\n"
        f"  and on (job, instance) {_SINCE_BEFORE} offset {window}\n"
        f"or increase({selector}[{window}])"
        for selector in (_selector(series.name, where) for where in series.any_of)
    ]
    inner = "\nor ".join(each)
    return f"sum by ({', '.join((*SERVICE, *by))}) (\n{_indented(inner)}\n)"


def _each(series: Series, form: str) -> str:
    return " or ".join(form.format(_selector(series.name, where)) for where in series.any_of)


def _selector(name: str, where: Iterable[object]) -> str:
    matchers = ", ".join(map(str, where))
    return f"{name}{{{matchers}}}" if matchers or not name else name


def _over(how: str, by: tuple[str, ...], inner: str) -> str:
    return f"{how} by ({', '.join((*SERVICE, *by))}) ({inner})"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
