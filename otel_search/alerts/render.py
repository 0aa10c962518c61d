"""The rules for Prometheus: recording rules, alerting rules, and the tests that promtool runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from otel_search.alerts import examples
from otel_search.alerts.examples import INSTANCE, SERVICE, Example
from otel_search.alerts.expression import Absent, Expression
from otel_search.alerts.promql import duration, promql, recordings
from otel_search.alerts.rules import Rule
from otel_search.alerts.template import for_prometheus

_HEAD = """\
# {what}
#
# Generated from the rules of otel-search, as the service itself evaluates them:
#   {command}
# Change the rules or the options, and not this file.
"""

RECORDINGS, ALERTS, TESTS = "recordings.yaml", "alerts.yaml", "tests/every-{step}m.yaml"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """YAML as people write it: text of several lines as a block, lists in their parent's column."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002 - PyYAML's
        return super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def document(what: str, command: str, content: Any) -> str:
    """A generated file.

    Args:
        what: What it is for.
        command: What writes it.
        content: Its content.
    """
    body: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return _HEAD.format(what=what.replace("\n", "\n# "), command=command) + "\n" + body


def renderable(rules: Iterable[Rule]) -> list[Rule]:
    """The rules that Prometheus can evaluate: not those whose condition is a function."""
    return [rule for rule in rules if "prometheus" in rule.readers and rule.expression is not None]


def prometheus(rules: Iterable[Rule], runbooks: str, command: str, *, tested: bool = True) -> dict[str, str]:
    """The files for Prometheus, by name.

    Args:
        rules: The rules; those that Prometheus cannot evaluate are left out.
        runbooks: The address of `docs/alerts.md`.
        command: What writes them, for their heads.
        tested: Whether to write tests, too: their samples are for rules whose times are not those of a drill.
    """
    chosen = renderable(rules)
    recorded, alerts = _recording_groups(chosen), _alert_groups(chosen, runbooks)
    return {
        RECORDINGS: document(
            "What the alerting rules read: how much counters have grown, for each service, first values included.",
            command,
            {"groups": recorded},
        ),
        ALERTS: document("Alerting rules for Prometheus 3.", command, {"groups": alerts}),
        **(_tests(chosen, runbooks, command, [group["name"] for group in (*recorded, *alerts)]) if tested else {}),
    }


def _tests(rules: Iterable[Rule], runbooks: str, command: str, groups: Iterable[str]) -> dict[str, str]:
    """A file for each distance between samples: Prometheus evaluates all rules of a file at all of its samples."""
    steps: dict[int, dict[tuple[int, str], list[tuple[Example, Rule]]]] = {}
    for example, rule in examples.of(rules):
        # What is absent is absent everywhere: such a rule looks at one service alone.
        alone = f"{rule.name} {example.labels}" if isinstance(rule.expression, Absent) else ""
        key = (example.at, alone)
        steps.setdefault(example.step, {}).setdefault(key, []).append((example, rule))
    return {
        TESTS.format(step=step): document(
            "Samples at which rules fire, and others at which they do not, for promtool test rules. Each service is one\n"
            "example; all rules look at all of those of their moment. What is expected was computed from the same samples\n"
            "by the evaluator in the process.",
            command,
            {
                "rule_files": [f"../{RECORDINGS}", f"../{ALERTS}"],
                "evaluation_interval": f"{step}m",
                "group_eval_order": list(groups),
                "tests": [_test(step, at, chosen, runbooks) for (at, _), chosen in moments.items()],
            },
        )
        for step, moments in steps.items()
    }


def _recording_groups(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    expressions: list[tuple[Expression, tuple[str, ...]]] = [
        (rule.expression, rule.by) for rule in rules if rule.expression is not None
    ]
    groups: dict[str, list[dict[str, str]]] = {}
    for name, text in recordings(expressions):
        groups.setdefault(name.rpartition(":increase")[2], []).append({"record": name, "expr": text})
    return [
        {
            "name": f"otel-search increase over {window}",
            # Long windows cost more and change less. Beyond five minutes a series would be stale between two values.
            **({"interval": "2m"} if window.endswith(("h", "d")) else {}),
            "rules": records,
        }
        for window, records in groups.items()
    ]


def _alert_groups(rules: Iterable[Rule], runbooks: str) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        groups.setdefault(rule.group, []).append(_alert(rule, runbooks))
    return [{"name": f"otel-search {name}", "rules": alerts} for name, alerts in groups.items()]


def _alert(rule: Rule, runbooks: str) -> dict[str, Any]:
    if rule.expression is None:
        raise ValueError(f"alert rule {rule.name!r} has a function as its condition: Prometheus cannot evaluate it")
    return {
        "alert": rule.name,
        "expr": promql(rule.expression, rule.by, recorded=True),
        **({"for": duration(rule.pending)} if rule.pending else {}),
        **({"keep_firing_for": duration(rule.keep)} if rule.keep else {}),
        "labels": {"severity": rule.severity},
        "annotations": _annotations(for_prometheus(rule.summary, threshold=rule.threshold), rule, runbooks),
    }


def _annotations(summary: str, rule: Rule, runbooks: str) -> dict[str, str]:
    runbook = rule.runbook_url(runbooks)
    return {"summary": summary, **({"runbook_url": runbook} if runbook else {})}


def _test(step: int, at: int, chosen: Sequence[tuple[Example, Rule]], runbooks: str) -> dict[str, Any]:
    services = {f"{SERVICE}-{number}": example for number, (example, _) in enumerate(chosen, 1)}
    rules = {rule.name: rule for _, rule in chosen}
    series = [
        {"series": _series(name, {"job": service, "instance": INSTANCE}), "values": values}
        for service, example in services.items()
        for name, values in {"target_info": f"1x{at}", **example.series}.items()
    ]
    return {
        "name": f"after {at * step} minutes",
        "interval": f"{step}m",
        "input_series": series,
        "alert_rule_test": [
            {
                "eval_time": f"{at * step}m",
                "alertname": rule.name,
                "exp_alerts": [
                    {
                        "exp_labels": {
                            "severity": rule.severity,
                            **({} if isinstance(rule.expression, Absent) else {"job": service}),
                            **alert.labels,
                        },
                        "exp_annotations": _annotations(alert.summary, rule, runbooks),
                    }
                    for service, example in services.items()
                    for alert in examples.evaluated(example, rule, service)
                ],
            }
            for rule in rules.values()
        ],
    }


def _series(series: str, own: Mapping[str, str]) -> str:
    name, labels = examples.labelled(series, **own)
    words = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{words}}}"
