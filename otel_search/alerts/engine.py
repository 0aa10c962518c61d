"""Rules, evaluator and states together: one look after the other at the metrics of a service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_search import semconv
from otel_search.alerts.evaluator import Evaluator, Value, Values
from otel_search.alerts.expression import Series
from otel_search.alerts.lines import say
from otel_search.alerts.rules import Rule, finite
from otel_search.alerts.samples import Samples
from otel_search.alerts.saved import UnreadableError
from otel_search.alerts.states import FIRING, RESOLVED, Alert, Alerts, Notification
from otel_search.aside import in_thread
from otel_search.metrics import Merged

_CONDITION_SECONDS = 5.0
_LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}


class Snapshot:
    """What a condition in Python looks at: the metrics of the service, now.

    Args:
        merged: The metrics of all workers.
    """

    def __init__(self, merged: Merged) -> None:
        self.metrics = merged
        self._samples = Samples()
        self._samples.take(merged)

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of all series of a name.

        Args:
            name: As at `/metrics`: `shop_orders_total`, `http_server_request_duration_seconds_count`.
            **labels: The values that labels must have.

        Returns:
            `None` if there is no such series.
        """
        found = [
            sample.value
            for sample in self._samples.of(Series(name))
            if all(sample.labels.get(label) == value for label, value in labels.items())
        ]
        return sum(found) if found else None


@dataclass(frozen=True)
class Outcome:
    """What has come of one look.

    Attributes:
        changed: Alerts that have begun to fire, or have ended.
        notifications: What is to be told.
    """

    changed: list[Alert]
    notifications: list[Notification]


class Engine:
    """Evaluates rules.

    Args:
        rules: Asked at each look: an application may add some.
        alerts: The states of their alerts.
        changed: Told each alert that has begun to fire or has ended; by default there is a log line.
    """

    def __init__(
        self, rules: Callable[[], Iterable[Rule]], alerts: Alerts, changed: Callable[[Alert], None] | None = None
    ) -> None:
        self.alerts = alerts
        self._changed = changed or _say
        self._rules = rules
        self._known: tuple[Rule, ...] = ()
        self._evaluator = Evaluator(())
        self._failing: set[str] = set()
        self._refresh()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are evaluated."""
        return self._known

    def _refresh(self) -> None:
        rules = tuple({rule.name: rule for rule in self._rules() if "process" in rule.readers}.values())
        if rules == self._known:
            return
        before, self._known = self._evaluator, rules
        self._evaluator = Evaluator(
            (expression, rule.by) for rule in rules if (expression := rule.expression) is not None
        )
        self._evaluator.take_over(before)

    def look(self, now: float, merged: Merged, *, since_start: bool = False) -> Outcome:
        """Evaluate all rules.

        Args:
            now: Seconds since the epoch.
            merged: The metrics of all workers.
            since_start: See `Evaluator.observe`.
        """
        self._refresh()
        self._evaluator.observe(now, merged, since_start=since_start)
        changed = self.alerts.end_unknown((rule.name for rule in self._known), now)
        for rule in self._known:
            try:
                values = self._values(rule, now, merged)
            except Exception as error:
                if rule.name not in self._failing:
                    self._failing.add(rule.name)
                    what = f"{type(error).__name__}: {error}"
                    say(logging.WARNING, "alert rule %s cannot be evaluated: %s", rule.name, what)
                continue
            self._failing.discard(rule.name)
            changed += self.alerts.update(rule, values, now)
        for alert in changed:
            self._changed(alert)
        notifications = self.alerts.due({rule.name: rule for rule in self._known}, changed, now)
        return Outcome(changed, notifications)

    def _values(self, rule: Rule, now: float, merged: Merged) -> Values:
        if rule.expression is not None:
            return self._evaluator.evaluate(rule.expression, rule.by, now)
        condition: Any = rule.condition
        # In a thread: what the application has written may take its time.
        found = in_thread(lambda: condition(Snapshot(merged)), "alert condition").result(_CONDITION_SECONDS)
        number = finite(found)
        if found is None or found is False or number == 0 or (number is None and found is not True):
            return {}
        return {(): Value(1.0 if number is None else number)}

    def firing(self) -> Mapping[tuple[str, str], int]:
        """How many alerts fire, by rule and severity; none is 0."""
        counted: dict[tuple[str, str], int] = {(rule.name, rule.severity): 0 for rule in self._known}
        for alert in list(self.alerts.known.values()):
            if alert.state == FIRING and (alert.rule, alert.severity) in counted:
                counted[alert.rule, alert.severity] += 1
        return counted

    def state(self) -> dict[str, Any]:
        """What another process needs to go on, for JSON."""
        return {"evaluator": self._evaluator.state(), "alerts": self.alerts.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what another process has left: from all of it, or from nothing.

        Raises:
            UnreadableError: It is not what `state` returns.
        """
        before = self.alerts.known
        self.alerts.restore(state.get("alerts"))
        try:
            self._evaluator.restore(state.get("evaluator"))
        except UnreadableError:
            self.alerts.known = before
            raise


def _say(alert: Alert) -> None:
    """One line for each change."""
    resolved = alert.state == RESOLVED
    fields: dict[str, Any] = {
        semconv.ALERT_NAME: alert.rule,
        semconv.ALERT_SEVERITY: alert.severity,
        semconv.ALERT_SUMMARY: alert.summary,
        semconv.ALERT_VALUE: finite(alert.value),
        **({semconv.ALERT_LABELS: dict(alert.labels)} if alert.labels else {}),
    }
    say(
        logging.INFO if resolved else _LEVELS[alert.severity],
        semconv.ALERT_RESOLVED if resolved else semconv.ALERT_FIRING,
        trace_id=alert.trace,
        span_id=alert.span,
        **fields,
    )
