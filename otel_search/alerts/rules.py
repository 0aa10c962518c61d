"""What an alert rule is."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from otel_search.alerts import template
from otel_search.alerts.conditions import parse
from otel_search.alerts.expression import Both, Comparison, Expression, Number, scaled, threshold

Severity = Literal["critical", "warning", "info"]
Reader = Literal["process", "prometheus"]
Condition = Expression | Callable[[Any], Any]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", re.ASCII)
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
_MAX_FOR = 7 * 86_400.0
_MAX_TEXT = 1000


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One alert rule, for both readers.

    Attributes:
        condition: It holds for each group that the expression has a value for; or a function of a
            `Snapshot`, for the process alone.
        summary: What the alert says, as `template` describes it.
        pending: Seconds that the condition must hold before the alert fires: Prometheus' `for`.
        keep: Seconds that the condition must not hold before the alert is resolved: `keep_firing_for`.
        by: Labels by whose values the rule makes several alerts.
        recipients: Addresses of its mails; by default those of `OTEL_SEARCH_ALERTS_TO`.
        runbook: Where it says what to do; if it is empty, a rule of ours has the section of its
            name in `docs/alerts.md`.
        readers: Who can evaluate it.
        group: The rules that it is shown with.
        inhibits: Names of rules that have nothing to add while this one fires.
        aftermath: Seconds after the end of a rule that inhibits it for which it has nothing to add either, because
            its windows still look back at that.
        what: The condition in words, for the documentation.
    """

    name: str
    condition: Condition
    summary: str
    severity: Severity = "warning"
    pending: float = 0.0
    keep: float = 0.0
    by: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    runbook: str = ""
    readers: tuple[Reader, ...] = ("process", "prometheus")
    group: str = "own"
    inhibits: tuple[str, ...] = ()
    aftermath: float = 0.0
    what: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be evaluated or sent, when the rule is made and not when it is needed.

        Raises:
            ValueError: With the field, its value and what is accepted.
        """
        where = f"alert rule {self.name!r}"
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"{where}: the name is not accepted; accepted: a letter, then letters, digits and _")
        if self.severity not in get_args(Severity):
            words = " | ".join(get_args(Severity))
            raise ValueError(f"{where}: severity={self.severity!r} is not accepted; accepted: {words}")
        for name, seconds in (("for", self.pending), ("keep_firing_for", self.keep)):
            if not 0 <= seconds <= _MAX_FOR:
                raise ValueError(f"{where}: {name}={seconds!r} is not accepted; accepted: 0 to 7 days")
        for label in self.by:
            if not _LABEL.fullmatch(label):
                raise ValueError(f"{where}: by={label!r} is not accepted; accepted: names of labels")
        for address in self.recipients:
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{where}: recipients: {address!r} is not accepted; accepted: addresses of mail")
        if not self.summary.strip() or len(self.summary) > _MAX_TEXT:
            raise ValueError(f"{where}: the template is not accepted; accepted: 1 to {_MAX_TEXT} characters")
        template.check(self.summary, self.by, has_threshold=self.threshold is not None, where=where)

    @property
    def expression(self) -> Expression | None:
        """The condition, if it is not a function."""
        return None if callable(self.condition) else self.condition

    @property
    def threshold(self) -> float | None:
        """What the value is compared with."""
        return None if self.expression is None else threshold(self.expression)

    def text(self, value: float, service: str, labels: Mapping[str, str]) -> str:
        """What the alert says."""
        return template.filled(self.summary, value=value, threshold=self.threshold, service=service, labels=labels)

    def runbook_url(self, base: str) -> str:
        """Where it says what to do.

        Args:
            base: The address of `docs/alerts.md`, or of what stands in its place.
        """
        return self.runbook or ("" if self.group == "own" else f"{base}#{self.name.lower()}")

    def scaled(self, factor: float) -> Rule:
        """The same rule with all its times multiplied, for drills."""
        condition = self.condition if callable(self.condition) else scaled(self.condition, factor)
        return dataclasses.replace(
            self,
            condition=condition,
            pending=self.pending * factor,
            keep=self.keep * factor,
            aftermath=self.aftermath * factor,
        )

    def with_threshold(self, value: float) -> Rule:
        """The same rule with another threshold.

        Raises:
            ValueError: It has none.
        """
        old = self.threshold
        if old is None or callable(self.condition):
            raise ValueError(f"alert rule {self.name!r} has no threshold to set")
        return dataclasses.replace(self, condition=_compared(self.condition, old, value))


def _compared(condition: Expression, old: float, new: float) -> Expression:
    """The condition with another threshold; one over two windows has it twice."""
    match condition:
        case Both(left, right):
            return Both(_compared(left, old, new), _compared(right, old, new))
        case Comparison(op, left, right) if right.value == old:
            return Comparison(op, left, Number(new))
    return condition


def condition_of(condition: object, where: str) -> Condition:
    """A condition as users write it: text, or a function.

    Raises:
        ValueError: It is neither, or cannot be read.
    """
    if isinstance(condition, str):
        try:
            return parse(condition)
        except ValueError as error:
            raise ValueError(f"{where}: the condition is not accepted: {error}") from error
    if callable(condition):
        return condition
    raise ValueError(f"{where}: condition={condition!r} is not accepted; accepted: text, or a function of a snapshot")


def finite(value: object) -> float | None:
    """A number that can be shown, or `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
