"""Rules are right when they are made, or refused with what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_search import AlertRule
from otel_search.alerts.catalogue import catalogue
from otel_search.alerts.engine import Engine
from otel_search.alerts.examples import merged_of
from otel_search.alerts.own import rules_of
from otel_search.alerts.rules import Rule
from otel_search.alerts.states import FIRING, Alert, Alerts

CONDITION = "max(depth) > 5"


@pytest.fixture(autouse=True)
def none_are_left() -> Iterator[None]:
    yield
    for each in list(AlertRule._declared.values()):
        each.remove()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "no name"}, "the name is not accepted; accepted: a letter, then letters, digits and _"),
        ({"severity": "page"}, "severity='page' is not accepted; accepted: critical | warning | info"),
        ({"recipients": ["nobody"]}, "recipients: 'nobody' is not accepted; accepted: addresses of mail"),
        ({"pending": -1}, "for=-1 is not accepted; accepted: 0 to 7 days"),
        ({"condition": "max(depth)"}, "the condition is not accepted: 'max(depth)': a comparison is needed"),
        ({"condition": 5}, "condition=5 is not accepted; accepted: text, or a function of a snapshot"),
        ({"message_template": ""}, "the template is not accepted; accepted: 1 to 1000 characters"),
        (
            {"message_template": "{wert}"},
            "{wert} in the template is not accepted; accepted: {value}, {threshold}, {service}",
        ),
        ({"message_template": "{value"}, "the template '{value' is not accepted: expected '}' before end of string"),
        ({"message_template": "{value.real}"}, "{value.real} in the template is not accepted"),
        ({"message_template": "{value!r}"}, "!r is no format"),
        (
            {"message_template": "{value:x}"},
            "the format 'x' of {value} is not accepted; accepted: count | percent | seconds",
        ),
        ({"message_template": "{queue}"}, "{queue} in the template is not accepted"),
        ({"by": ["a b"]}, "by='a b' is not accepted; accepted: names of labels"),
    ],
)
def test_a_rule_that_could_not_be_told_is_refused_when_it_is_made(changes: dict[str, object], reason: str) -> None:
    known = {"name": "Full", "condition": CONDITION, "message_template": "full", **changes}
    with pytest.raises(ValueError) as caught:
        AlertRule(**known)  # type: ignore[arg-type]
    assert reason in str(caught.value)
    assert not AlertRule.declared()


def test_a_rule_in_code_is_declared_once() -> None:
    AlertRule(
        "Full", CONDITION, "{value:count} wait in {queue} of {service}", "critical", ["a@example.org"], by=["queue"]
    )
    AlertRule("Full", CONDITION, "{service} is full")
    (rule,) = AlertRule.declared()
    assert (rule.severity, rule.recipients, rule.text(9, "shop", {})) == ("warning", (), "shop is full")


def alerts_of(rules: list[Rule], **values: float) -> list[Alert]:
    engine = Engine(lambda: rules, Alerts(service="shop"), lambda _: None)
    engine.look(60.0, merged_of(values))
    return [alert for alert in engine.alerts.known.values() if alert.state == FIRING]


@pytest.mark.parametrize(
    ("found", "value"), [(True, 1.0), (7, 7.0), (0.5, 0.5), (False, None), (None, None), (0, None)]
)
def test_a_condition_may_be_a_function(found: object, value: float | None) -> None:
    AlertRule("Own", lambda snapshot: found, "{value}")
    assert [alert.value for alert in alerts_of(AlertRule.declared())] == ([] if value is None else [value])


def test_a_function_sees_what_prometheus_would() -> None:
    seen = []
    AlertRule("Own", lambda snapshot: seen.append((snapshot.value("depth"), snapshot.value("depth", queue="b"))), "x")
    alerts_of(AlertRule.declared(), **{'depth{queue="a"}': 3, 'depth{queue="b"}': 4})
    assert seen == [(7, 4)]


def test_a_function_that_fails_is_said_once_and_spoils_no_other_rule(caplog: pytest.LogCaptureFixture) -> None:
    AlertRule("Broken", lambda snapshot: 1 / 0, "x")
    AlertRule("Full", CONDITION, "full")
    engine = Engine(AlertRule.declared, Alerts(), lambda _: None)
    for minute in range(3):
        engine.look(minute * 60.0, merged_of({"depth": 9}))
    assert [alert.rule for alert in engine.alerts.known.values()] == ["Full"]
    said = [record.getMessage() for record in caplog.records if "Broken" in record.getMessage()]
    assert said == ["alert rule Broken cannot be evaluated: ZeroDivisionError: division by zero"]


def test_a_rule_that_an_application_adds_later_is_evaluated() -> None:
    engine = Engine(AlertRule.declared, Alerts(), lambda _: None)
    engine.look(0.0, merged_of({"depth": 9}))
    later = AlertRule("Full", CONDITION, "full")
    engine.look(60.0, merged_of({"depth": 9}))
    assert engine.firing() == {("Full", "warning"): 1}
    later.remove()
    engine.look(120.0, merged_of({"depth": 9}))
    assert engine.firing() == {}


RULES = """\
without: [NoTraffic]
change:
  SlowRequests: {threshold: 0.5, for: 30s, severity: critical, recipients: [search@example.org]}
  ErrorBudgetBurnFast: {threshold: 0.2}
rules:
  - name: OrdersFail
    condition: increase(shop_orders_total{outcome="failed"}[5m]) / increase(shop_orders_total[5m]) > 0.1
    message_template: "{value:percent} of the orders of {service} fail in {region}"
    severity: critical
    for: 2m
    keep_firing_for: 90
    by: region
    runbook: https://runbooks.example.org/orders
"""


def test_rules_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    rules = {rule.name: rule for rule in rules_of(0.999, str(tmp_path / "rules.yaml"))}
    assert "NoTraffic" not in rules
    slow = rules["SlowRequests"]
    assert (slow.threshold, slow.pending, slow.severity, slow.recipients) == (
        0.5,
        30,
        "critical",
        ("search@example.org",),
    )
    assert rules["ErrorBudgetBurnFast"].threshold == 0.2
    own = rules["OrdersFail"]
    assert (own.pending, own.keep, own.by, own.threshold) == (120, 90, ("region",), 0.1)
    assert own.text(0.25, "shop", {"region": "eu"}) == "25% of the orders of shop fail in eu"
    assert own.runbook_url("x") == "https://runbooks.example.org/orders"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- a", "rules.yaml: ['a'] is not accepted; accepted: fields with values"),
        ("a: [", "rules.yaml is no YAML"),
        ("rulez: []", "rules.yaml: 'rulez' is not known; known: without, change, rules"),
        ("without: [Nothing]", "without: there is no rule 'Nothing'; there are HighErrorRate, "),
        ("change: {Nothing: {for: 5m}}", "change: there is no rule 'Nothing'"),
        ("change: {NoTraffic: {until: 5m}}", "'until' is not known; known: threshold, "),
        ("change: {NoTraffic: {for: soon}}", "for: 'soon' is no duration"),
        ("change: {NoTraffic: {threshold: high}}", "threshold: 'high' is not accepted; accepted: a number"),
        ("change: {TelemetryAbsent: {threshold: 1}}", "alert rule 'TelemetryAbsent' has no threshold to set"),
        ("change: {NoTraffic: {severity: page}}", "severity='page' is not accepted"),
        ("rules: {a: 1}", "rules: {'a': 1} is not accepted; accepted: a list of rules"),
        ("rules: [{name: A, condition: max(a) > 1}]", "message_template: None is not accepted; accepted: text"),
        (
            "rules: [{name: A, condition: up, message_template: x}]",
            "alert rule 'A': the condition is not accepted: 'up'",
        ),
        ("rules: [{name: A, condition: max(a) > 1, message_template: '{b}'}]", "{b} in the template is not accepted"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "rules.yaml").write_text(content)
    with pytest.raises(ValueError) as caught:
        rules_of(0.999, str(tmp_path / "rules.yaml"))
    assert reason in str(caught.value)
    assert "rules.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("/nowhere/rules.yaml cannot be read: No such file or directory")):
        rules_of(0.999, "/nowhere/rules.yaml")


def test_rules_in_a_python_file(tmp_path: Path) -> None:
    path = tmp_path / "own_rules.py"
    path.write_text("from otel_search import AlertRule\nAlertRule('Full', 'max(depth) > 5', 'full')\n")
    assert rules_of(0.999, str(path)) == catalogue(0.999)
    assert [rule.name for rule in AlertRule.declared()] == ["Full"]
    path.write_text("1 / 0")
    with pytest.raises(ValueError, match=r"own_rules\.py: ZeroDivisionError: division by zero"):
        rules_of(0.999, str(path))


def test_a_drill_multiplies_all_times() -> None:
    for rule, short in zip(catalogue(), (rule.scaled(0.01) for rule in catalogue()), strict=True):
        assert short.pending == rule.pending * 0.01
        assert short.threshold == rule.threshold


def test_the_objective_decides_on_the_burn_rates() -> None:
    burn = {rule.name: rule.threshold for rule in catalogue(0.99) if rule.group == "slo"}
    assert burn == {"ErrorBudgetBurnFast": 0.144, "ErrorBudgetBurnSteady": 0.06, "ErrorBudgetBurnSlow": 0.01}


def test_the_examples_in_the_documentation_are_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (content,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    assert [rule.name for rule in AlertRule.declared()] == ["OrdersFail", "QueueLong"]
    assert [alert.rule for alert in alerts_of(AlertRule.declared(), shop_queue_depth=2000)] == ["QueueLong"]
    (tmp_path / "rules.yaml").write_text(content)
    assert "NoTraffic" not in {rule.name for rule in rules_of(0.999, str(tmp_path / "rules.yaml"))}
