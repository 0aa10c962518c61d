"""The life of alerts: inactive, pending, firing, resolved; and when somebody is told.

One notification tells of one alert, and comes once an incident. Another one of the same alert does
not come before the cooldown is over, however often it has come and gone meanwhile; the next one says
how often that was. While an alert fires it is repeated, if that is wanted. Its end is told if its
beginning was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from otel_search.alerts.evaluator import Value
from otel_search.alerts.rules import Rule
from otel_search.alerts.saved import UnreadableError, listing, restored

PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"

_REMEMBERED = 86_400.0
_MAX_ALERTS = 1000


@dataclass
class Alert:
    """One alert: a rule, for one group of series.

    Attributes:
        labels: Of the group.
        state: `pending`, `firing` or `resolved`.
        since: When the condition began to hold, in seconds since the epoch.
        fired: When it began to fire.
        held: When the condition last held.
        ended: When it was resolved.
        summary: What it says, with its last value.
        trace: The trace id of a request that is part of it, or empty; `span` is its span id.
        announced: Whether this incident was told.
        covered: Until when another alert, which has told of the same, speaks for it.
        told: When this alert was last told to fire.
        suppressed: How many incidents were not told since.
    """

    rule: str
    severity: str
    labels: dict[str, str]
    state: str = PENDING
    since: float = 0.0
    fired: float = 0.0
    held: float = 0.0
    ended: float = 0.0
    value: float = 0.0
    summary: str = ""
    trace: str = ""
    span: str = ""
    announced: bool = False
    covered: float = 0.0
    told: float = 0.0
    suppressed: int = 0

    @property
    def key(self) -> str:
        """Tells it from all others: nothing in it changes from one incident to the next."""
        return f"{self.rule}{{{','.join(f'{name}={value}' for name, value in sorted(self.labels.items()))}}}"


@dataclass(frozen=True)
class Notification:
    """What somebody is told.

    Attributes:
        key: Of the alert.
        status: `firing` or `resolved`.
        repeated: Whether it was told before and goes on.
        suppressed: How many incidents before this one were not told.
    """

    key: str
    rule: str
    severity: str
    status: Literal["firing", "resolved"]
    labels: Mapping[str, str]
    summary: str
    value: float
    started: float
    ended: float
    trace: str = ""
    span: str = ""
    repeated: bool = False
    suppressed: int = 0
    recipients: tuple[str, ...] = ()
    runbook: str = ""

    @property
    def fingerprint(self) -> str:
        """A short form of `key`."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]

    def state(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Notification:
        """From JSON.

        Raises:
            UnreadableError: It is not what `state` returns.
        """
        return cls(**restored(cls("", "", "", "firing", {}, "", 0.0, 0.0, 0.0), state))


@dataclass
class Alerts:
    """All alerts of a service.

    Args:
        cooldown: Seconds within which an alert is told to fire once at most.
        repeat: Seconds after which one that still fires is told again; 0 for never.
        service: Whose alerts they are.
        runbooks: The address of `docs/alerts.md`.
        recipients: Who gets the mails of rules that name nobody.
    """

    cooldown: float = 300.0
    repeat: float = 300.0
    service: str = ""
    runbooks: str = ""
    recipients: tuple[str, ...] = ()
    known: dict[str, Alert] = field(default_factory=dict)

    def update(self, rule: Rule, values: Mapping[tuple[tuple[str, str], ...], Value], now: float) -> list[Alert]:
        """Take the values of the groups for which the condition of a rule holds now.

        Returns:
            The alerts that have begun to fire, or have ended.
        """
        changed = []
        found = {_key(rule, labels): (dict(labels), value) for labels, value in values.items()}
        for key, (labels, value) in found.items():
            alert = self.known.get(key)
            if alert is None and len(self.known) >= _MAX_ALERTS:
                continue
            if alert is None:
                alert = self.known[key] = Alert(rule.name, rule.severity, labels, RESOLVED)
            if alert.state == RESOLVED:
                alert.state, alert.since, alert.announced = PENDING, now, False
                alert.trace = alert.span = ""
                alert.covered = 0.0
            alert.severity, alert.held, alert.value = rule.severity, now, value.number
            alert.summary = " ".join(rule.text(value.number, self.service, labels).split())
            if value.trace is not None:
                _, alert.trace, alert.span = value.trace
            if alert.state == PENDING and now - alert.since >= rule.pending:
                alert.state, alert.fired = FIRING, now
                changed.append(alert)
        for key, alert in list(self.known.items()):
            if alert.rule != rule.name or key in found:
                continue
            if alert.state == PENDING:
                self._rest(alert)
            elif alert.state == FIRING and now - alert.held >= rule.keep:
                self._end(alert, now)
                changed.append(alert)
        return changed

    def end_unknown(self, names: Iterable[str], now: float) -> list[Alert]:
        """End the alerts of rules that are no more."""
        known = set(names)
        changed = []
        for alert in list(self.known.values()):
            if alert.rule not in known and alert.state != RESOLVED:
                if alert.state == FIRING:
                    self._end(alert, now)
                    changed.append(alert)
                else:
                    self._rest(alert)
        return changed

    def _rest(self, alert: Alert) -> None:
        """What never fired leaves nothing behind, but when it was last told."""
        alert.state = RESOLVED
        alert.announced = False

    def _end(self, alert: Alert, now: float) -> None:
        alert.state, alert.ended = RESOLVED, now
        if not alert.announced:
            alert.suppressed += 1

    def due(self, rules: Mapping[str, Rule], changed: Iterable[Alert], now: float) -> list[Notification]:
        """What is to be told now.

        Args:
            rules: All rules, by name.
            changed: The alerts that have ended, among others.
            now: Seconds since the epoch.
        """
        firing = [alert for alert in self.known.values() if alert.state == FIRING]
        self._cover(rules, firing, now)
        found = []
        for alert in firing:
            alert.told = min(alert.told, now)  # a clock that was set back holds nobody up
            covered = now <= alert.covered
            cooled = not alert.told or now - alert.told >= self.cooldown
            if not alert.announced:
                if cooled and not covered:
                    found.append(self._notification(alert, rules.get(alert.rule), "firing"))
                    alert.announced, alert.told, alert.suppressed = True, now, 0
            elif self.repeat and now - alert.told >= max(self.repeat, self.cooldown) and not covered:
                found.append(self._notification(alert, rules.get(alert.rule), "firing", repeated=True))
                alert.told = now
        for alert in changed:
            if alert.state == RESOLVED and alert.announced:
                found.append(self._notification(alert, rules.get(alert.rule), "resolved"))
                alert.announced = False
        self.known = {
            key: alert
            for key, alert in self.known.items()
            if alert.state != RESOLVED or now - max(alert.told, alert.ended) < max(_REMEMBERED, self.cooldown)
        }
        return found

    def _cover(self, rules: Mapping[str, Rule], firing: Iterable[Alert], now: float) -> None:
        """Let alerts that fire speak for others, which look at the same from further off."""
        for speaker in firing:
            for name in rules[speaker.rule].inhibits if speaker.rule in rules else ():
                for alert in self.known.values():
                    if alert.rule == name and alert.state != RESOLVED and _fit(speaker.labels, alert.labels):
                        alert.covered = now + (rules[name].aftermath if name in rules else 0)

    def _notification(
        self, alert: Alert, rule: Rule | None, status: Literal["firing", "resolved"], *, repeated: bool = False
    ) -> Notification:
        return Notification(
            key=alert.key,
            rule=alert.rule,
            severity=alert.severity,
            status=status,
            labels=dict(alert.labels),
            summary=alert.summary,
            value=alert.value,
            started=alert.fired,
            ended=alert.ended if status == "resolved" else 0.0,
            trace=alert.trace,
            span=alert.span,
            repeated=repeated,
            suppressed=alert.suppressed,
            recipients=(rule.recipients if rule is not None else ()) or self.recipients,
            runbook=rule.runbook_url(self.runbooks) if rule is not None else "",
        )

    def state(self) -> list[dict[str, Any]]:
        """What another process needs to go on, for JSON."""
        return [asdict(alert) for alert in self.known.values()]

    def restore(self, state: Any) -> None:
        """Go on from what another process has left.

        Raises:
            UnreadableError: It is not what `state` returns.
        """
        alerts = [Alert(**restored(Alert("", "", {}), each)) for each in listing("the alerts' part", state)]
        unknown = {alert.state for alert in alerts} - {PENDING, FIRING, RESOLVED}
        if unknown:
            raise UnreadableError(f"an alert is {min(unknown)[:100]!r}")
        self.known = {alert.key: alert for alert in alerts[:_MAX_ALERTS]}


def _key(rule: Rule, labels: Iterable[tuple[str, str]]) -> str:
    return Alert(rule.name, rule.severity, dict(labels)).key


def _fit(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether the labels that both have are the same."""
    return all(other[label] == value for label, value in one.items() if label in other)
