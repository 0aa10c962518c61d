"""Writes the table of rules in docs/alerts.md: `python -m tests.alerts.document`."""

from __future__ import annotations

from pathlib import Path

from otel_search.alerts.catalogue import catalogue
from otel_search.alerts.promql import duration
from otel_search.alerts.rules import Rule

PATH = Path(__file__).parents[2] / "docs" / "alerts.md"
BEGIN = "<!-- rules: generated from otel_search/alerts/catalogue.py, held by tests/alerts/test_render.py -->\n"
END = "<!-- /rules -->"


def table() -> str:
    lines = ["| rule | severity | fires when | for | read by |", "| --- | --- | --- | --- | --- |"]
    for rule in catalogue():
        readers = "Prometheus" if "process" not in rule.readers else "both"
        pending = duration(rule.pending) if rule.pending else "at once"
        lines.append(
            f"| [{rule.name}](#{rule.name.lower()}) | {rule.severity} | {rule.what}{_limit(rule)} | {pending} | {readers} |"
        )
    return "\n".join(lines)


def _limit(rule: Rule) -> str:
    condition = rule.condition
    while hasattr(condition, "left") and not hasattr(condition, "op"):
        condition = condition.left
    op = getattr(condition, "op", "")
    return "" if rule.threshold is None else f": {op} {rule.threshold:g}"


if __name__ == "__main__":
    before, mark, rest = PATH.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PATH.write_text(f"{before}{mark}{table()}\n{END}{after}", encoding="utf-8")
