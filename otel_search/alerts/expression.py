"""What a rule looks at, as data: a small part of PromQL that two readers understand.

`promql.py` writes it for Prometheus, `evaluator.py` computes it in the process. Series have the names
that `/metrics` gives them. Every sum is over the whole service, or over each group of it that the
rule names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal


@dataclass(frozen=True)
class Matcher:
    """A condition on one label, as in PromQL; a label that is not there is empty.

    Attributes:
        op: `=`, `!=`, `=~` or `!~`; regular expressions match the whole value.
    """

    label: str
    op: str
    value: str

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.value if "~" in self.op else re.escape(self.value), re.DOTALL)

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is meant."""
        found = self._pattern.fullmatch(labels.get(self.label, "")) is not None
        return found is (self.op[0] == "=")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op}"{escaped}"'


Where = tuple[Matcher, ...]


@dataclass(frozen=True)
class Series:
    """Some series of one metric.

    Attributes:
        name: As at `/metrics`, with `_total`, `_count`, `_sum` or `_bucket`; empty for all metrics.
        any_of: Alternatives, no two of which mean the same series.
        alias: What a recording rule may call their sum.
    """

    name: str
    any_of: tuple[Where, ...] = ((),)
    alias: str = ""

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of this name with these labels is meant."""
        return any(all(matcher.accepts(labels) for matcher in where) for where in self.any_of)


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Increase:
    """How much counters have grown in the last `seconds`; a series that is new has grown from nothing."""

    series: Series
    seconds: float


@dataclass(frozen=True)
class Quantile:
    """A quantile of what histograms have measured in the last `seconds`.

    Attributes:
        share: 0 to 1.
        series: Buckets.
    """

    share: float
    series: Series
    seconds: float


@dataclass(frozen=True)
class Resets:
    """How often series have gone backwards in the last `seconds`."""

    series: Series
    seconds: float


@dataclass(frozen=True)
class Gauge:
    """Present values as one, or means of the last `seconds` as one.

    Attributes:
        how: What becomes of several series.
        seconds: 0 for the present.
    """

    how: Literal["max", "min", "sum", "avg"]
    series: Series
    seconds: float = 0


@dataclass(frozen=True)
class Count:
    """How many series there are now, or were at some moment of the last `seconds`."""

    series: Series
    seconds: float = 0


@dataclass(frozen=True)
class Absent:
    """1 if there was no such series in the last `seconds`."""

    series: Series
    seconds: float


@dataclass(frozen=True)
class Arithmetic:
    """Two values of the same group, calculated.

    Attributes:
        op: `+`, `-`, `*` or `/`.
    """

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Comparison:
    """The left value, if it compares so with the right one.

    Attributes:
        op: `>`, `>=`, `<`, `<=`, `==` or `!=`.
    """

    op: str
    left: Expression
    right: Number


@dataclass(frozen=True)
class Both:
    """The left value, if the right one is there as well: `and`."""

    left: Expression
    right: Expression


Leaf = Increase | Quantile | Resets | Gauge | Count | Absent
Expression = Number | Leaf | Arithmetic | Comparison | Both


def leaves(expression: Expression) -> Iterator[Leaf]:
    """What an expression reads, from left to right."""
    match expression:
        case Arithmetic(_, left, right) | Comparison(_, left, right) | Both(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Number():
            return
        case _:
            yield expression


def threshold(expression: Expression) -> float | None:
    """The number that the value of a condition is compared with, if it is compared."""
    match expression:
        case Comparison(_, _, right):
            return right.value
        case Both(left, _):
            return threshold(left)
    return None


def scaled(expression: Expression, factor: float) -> Expression:
    """The same expression with all its windows multiplied."""
    match expression:
        case Arithmetic(_, left, right) | Both(left, right):
            return dataclasses.replace(expression, left=scaled(left, factor), right=scaled(right, factor))
        case Comparison(_, left, _):
            return dataclasses.replace(expression, left=scaled(left, factor))
        case Number():
            return expression
    return dataclasses.replace(expression, seconds=expression.seconds * factor)
