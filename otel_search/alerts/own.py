"""Rules of the application's own: in code, or in a file that also changes those that come with otel-search."""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from otel_search.alerts.catalogue import catalogue
from otel_search.alerts.conditions import seconds_of
from otel_search.alerts.rules import Rule, Severity, condition_of

_MAX_OWN = 200
_FIELDS = (
    "name",
    "condition",
    "message_template",
    "severity",
    "recipients",
    "for",
    "keep_firing_for",
    "by",
    "runbook",
)
_CHANGES = ("threshold", "severity", "recipients", "for", "keep_firing_for", "runbook", "message_template")


class AlertRule:
    """An alert rule of the application's own, declared once.

    `AlertRule("OrdersFail", 'increase(shop_orders_failed_total[5m]) > 10', "{value:count} orders of {service} failed")`

    Args:
        name: A letter, then letters, digits and `_`.
        condition: A small part of PromQL, as `otel_search.alerts.conditions` describes it; or a function of a
            `Snapshot` that returns whether the alert should fire, or its value. A function is called in a thread,
            in the process alone: it cannot be rendered for Prometheus.
        message_template: What the alert says, with `{value}`, `{threshold}`, `{service}` and the labels in `by`.
        severity: `critical`, `warning` or `info`.
        recipients: Addresses of its mails; by default those of `OTEL_SEARCH_ALERTS_TO`.
        pending: Seconds that the condition must hold before the alert fires.
        keep_firing_for: Seconds that it must not hold before the alert is resolved.
        by: Labels by whose values the rule makes several alerts.
        runbook: The address of what to do.

    Raises:
        ValueError: One of them cannot be used, or there are 200 rules already.
    """

    _declared: ClassVar[dict[str, AlertRule]] = {}
    _lock = threading.Lock()

    def __init__(
        self,
        name: str,
        condition: str | Callable[[Any], Any],
        message_template: str,
        severity: Severity = "warning",
        recipients: Iterable[str] = (),
        *,
        pending: float = 0.0,
        keep_firing_for: float = 0.0,
        by: Iterable[str] = (),
        runbook: str = "",
    ) -> None:
        self.rule = Rule(
            name=name,
            condition=condition_of(condition, f"alert rule {name!r}"),
            summary=message_template,
            severity=severity,
            recipients=_words(recipients),
            pending=pending,
            keep=keep_firing_for,
            by=_words(by),
            runbook=runbook,
        )
        with self._lock:
            if len(self._declared) >= _MAX_OWN and name not in self._declared:
                raise ValueError(f"alert rule {name!r} is not accepted: there are {_MAX_OWN} rules already")
            self._declared[name] = self

    def remove(self) -> None:
        """Evaluate this no longer."""
        with self._lock:
            if self._declared.get(self.rule.name) is self:
                del self._declared[self.rule.name]

    @classmethod
    def declared(cls) -> list[Rule]:
        """All rules of the application, in the order of their declaration."""
        with cls._lock:
            return [each.rule for each in cls._declared.values()]


def rules_of(objective: float, file: str = "") -> tuple[Rule, ...]:
    """The rules that come with otel-search, as a file changes them, and those that it adds.

    Args:
        objective: The share of requests that must not fail.
        file: YAML, or Python that declares rules by `AlertRule`; empty for none.

    Raises:
        ValueError: The file cannot be used; the message says where and why.
        ModuleNotFoundError: It is YAML, and PyYAML is not installed.
    """
    rules = {rule.name: rule for rule in catalogue(objective)}
    if file.endswith(".py"):
        _run(Path(file))
    elif file:
        content = _content(Path(file))
        for name in _names(content, "without", rules, file):
            del rules[name]
        for name, changes in _mapping(content.get("change"), f"{file}: change").items():
            if name not in rules:
                raise ValueError(f"{file}: change: there is no rule {name!r}; there are {', '.join(rules)}")
            rules[name] = _changed(rules[name], _mapping(changes, f"{file}: change {name}"), file)
        own = content.get("rules") or []
        if not isinstance(own, list):
            raise _fault(f"{file}: rules", own, "a list of rules")
        rules |= {rule.name: rule for rule in (_rule(each, file) for each in own)}
    return tuple(rules.values())


def _run(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("otel_search_alert_rules", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error


def _content(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    content = _mapping(found, str(path))
    _known(content, ("without", "change", "rules"), str(path))
    return content


def _rule(content: Any, file: str) -> Rule:
    fields = _mapping(content, f"{file}: a rule")
    where = f"{file}: alert rule {fields.get('name')!r}"
    _known(fields, _FIELDS, where)
    for needed in ("name", "condition", "message_template"):
        if not isinstance(fields.get(needed), str):
            raise _fault(f"{where}: {needed}", fields.get(needed), "text")
    try:
        made = Rule(
            name=fields["name"],
            condition=condition_of(fields["condition"], f"alert rule {fields['name']!r}"),
            summary=fields["message_template"],
            by=_words(fields.get("by") or ()),
        )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return _changed(made, {name: value for name, value in fields.items() if name in _CHANGES}, file)


def _changed(rule: Rule, changes: Mapping[str, Any], file: str) -> Rule:
    where = f"{file}: alert rule {rule.name!r}"
    _known(changes, _CHANGES, where)
    fields: dict[str, Any] = {}
    threshold: float | None = None
    for name, value in changes.items():
        match name:
            case "threshold":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise _fault(f"{where}: threshold", value, "a number")
                threshold = float(value)
            case "for" | "keep_firing_for":
                fields["pending" if name == "for" else "keep"] = _seconds(value, f"{where}: {name}")
            case "recipients":
                fields[name] = _words(value)
            case "message_template":
                fields["summary"] = str(value)
            case _:
                fields[name] = str(value)
    try:
        changed = dataclasses.replace(rule, **fields)
        return changed if threshold is None else changed.with_threshold(threshold)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return seconds_of(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _names(content: Mapping[str, Any], field: str, rules: Mapping[str, Rule], file: str) -> tuple[str, ...]:
    names = _words(content.get(field) or ())
    for name in names:
        if name not in rules:
            raise ValueError(f"{file}: {field}: there is no rule {name!r}; there are {', '.join(rules)}")
    return names


def _words(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(each) for each in value)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _fault(where, value, "fields with values")
    return {str(name): each for name, each in value.items()}


def _known(content: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    for name in content:
        if name not in names:
            raise ValueError(f"{where}: {name!r} is not known; known: {', '.join(names)}")


def _fault(where: str, value: object, accepted: str) -> ValueError:
    return ValueError(f"{where}: {value!r} is not accepted; accepted: {accepted}")
