"""Conditions as text, in a small part of PromQL.

    increase(shop_orders_total{outcome="failed"}[5m]) / increase(shop_orders_total[5m]) > 0.05

There are `increase`, `rate`, `resets` and `absent` over a window, `quantile(0.99, …)` over buckets,
`max`, `min`, `sum` and `avg` of gauges (with a window: of their means), `count`; `+ - * /`, one
comparison with a number, and `and` between comparisons. Sums need not be written: each is over the
whole service.
"""

from __future__ import annotations

import re
from typing import Any

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

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<word>[a-zA-Z_:][\w:]*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<window>\[\s*(?:\d+(?:ms|[smhd]))+\s*\])
    | (?P<sign>==|!=|=~|!~|>=|<=|[-+*/(){},=<>])
    )""",
    re.VERBOSE,
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COMPARISONS = ("==", "!=", ">=", "<=", ">", "<")
_GAUGES = ("max", "min", "sum", "avg")
_WINDOWED = ("increase", "rate", "resets", "absent", "quantile")
_MAX_WINDOW = 30 * 86_400.0
_MAX_TEXT = 4000
_MAX_DEPTH = 50


def parse(text: str) -> Expression:
    """The expression in `text`.

    Raises:
        ValueError: It is none; the message says where it ends to be one.
    """
    return _Parser(text).condition()


def seconds_of(text: str) -> float:
    """The seconds in a duration such as `90s`, `5m` or `1h30m`.

    Raises:
        ValueError: It is none.
    """
    parts = re.findall(r"(\d+)(ms|[smhd])", text)
    if not parts or "".join(count + unit for count, unit in parts) != text.strip():
        raise ValueError(f"{text!r} is no duration; accepted: such as 30s, 5m, 1h30m")
    return sum(int(count) * _UNITS[unit] for count, unit in parts)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._tokens = self._read()
        self._next = 0

    def _read(self) -> list[tuple[str, str, int]]:
        if len(self._text) > _MAX_TEXT:
            raise ValueError(f"the condition is longer than {_MAX_TEXT} characters")
        tokens, place = [], 0
        text = self._text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise ValueError(f"{self._text!r}: {text[place:].lstrip()[:20]!r} is not understood")
            tokens.append((found.lastgroup, found[found.lastgroup], place))
            place = found.end()
        return [*tokens, ("end", "", len(text))]

    def _fail(self, wanted: str) -> Any:
        _, token, place = self._tokens[self._next]
        before = self._text[:place].strip()[-30:]
        raise ValueError(f"{self._text!r}: {wanted} is needed after {before!r}, not {token or 'the end'!r}")

    def _is(self, *tokens: str) -> bool:
        return self._tokens[self._next][1] in tokens and self._tokens[self._next][0] in ("sign", "word")

    def _take(self, kind: str, wanted: str) -> str:
        if self._tokens[self._next][0] != kind:
            self._fail(wanted)
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _take_sign(self, sign: str) -> None:
        if not self._is(sign):
            self._fail(repr(sign))
        self._next += 1

    def condition(self) -> Expression:
        found = self._compared()
        while self._is("and"):
            self._next += 1
            found = Both(found, self._compared())
        if self._tokens[self._next][0] != "end":
            self._fail("`and` or the end")
        return found

    def _compared(self) -> Expression:
        left = self._sum()
        if isinstance(left, Absent) and not self._is(*_COMPARISONS):
            return left
        if not self._is(*_COMPARISONS):
            self._fail("a comparison")
        op = self._take("sign", "a comparison")
        sign = -1 if self._is("-") else 1
        if self._is("-"):
            self._next += 1
        return Comparison(op, left, Number(sign * float(self._take("number", "a number"))))

    def _sum(self) -> Expression:
        found = self._product()
        while self._is("+", "-"):
            op = self._take("sign", "+")
            found = Arithmetic(op, found, self._product())
        return found

    def _product(self) -> Expression:
        found = self._term()
        while self._is("*", "/"):
            op = self._take("sign", "*")
            found = Arithmetic(op, found, self._term())
        return found

    def _term(self) -> Expression:
        if self._tokens[self._next][0] == "number":
            return Number(float(self._take("number", "a number")))
        if self._is("("):
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                self._fail("less depth")
            self._next += 1
            found = self._sum()
            self._take_sign(")")
            self._depth -= 1
            return found
        function = self._take("word", "a function")
        if function not in (*_WINDOWED, *_GAUGES, "count"):
            self._next -= 1
            self._fail(f"one of {', '.join((*_WINDOWED, *_GAUGES, 'count'))}")
        self._take_sign("(")
        share = 0.0
        if function == "quantile":
            share = float(self._take("number", "a share, 0 to 1"))
            if not 0 <= share <= 1:
                raise ValueError(f"{self._text!r}: a share is 0 to 1, not {share:g}")
            self._take_sign(",")
        series, seconds = self._series()
        self._take_sign(")")
        if function in _WINDOWED and not seconds:
            self._next -= 1
            self._fail("a window such as [5m]")
        return _leaf(function, share, series, seconds)

    def _series(self) -> tuple[Series, float]:
        name = self._take("word", "the name of a series")
        matchers = []
        if self._is("{"):
            self._next += 1
            while not self._is("}"):
                label = self._take("word", "a label")
                if not self._is("=", "!=", "=~", "!~"):
                    self._fail("= != =~ or !~")
                op = self._take("sign", "=")
                quoted = self._take("text", "a value in quotes")
                matchers.append(Matcher(label, op, _unquoted(quoted)))
                try:
                    matchers[-1].accepts({})
                except re.error as error:
                    raise ValueError(f"{self._text!r}: {quoted} is no regular expression: {error}") from error
                if not self._is("}"):
                    self._take_sign(",")
            self._next += 1
        seconds = 0.0
        if self._tokens[self._next][0] == "window":
            seconds = seconds_of(self._take("window", "a window").strip("[] \t"))
            if not 0 < seconds <= _MAX_WINDOW:
                raise ValueError(f"{self._text!r}: a window is more than nothing and 30 days at most")
        return Series(name, (tuple(matchers),)), seconds


def _leaf(function: str, share: float, series: Series, seconds: float) -> Expression:
    match function:
        case "increase":
            return Increase(series, seconds)
        case "rate":
            return Arithmetic("/", Increase(series, seconds), Number(seconds))
        case "quantile":
            return Quantile(share, series, seconds)
        case "resets":
            return Resets(series, seconds)
        case "absent":
            return Absent(series, seconds)
        case "count":
            return Count(series, seconds)
        case "max" | "min" | "sum" | "avg":
            return Gauge(function, series, seconds)
    raise ValueError(function)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), text[1:-1])
