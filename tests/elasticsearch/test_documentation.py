"""The page about Elasticsearch calls names what is emitted, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from otel_search import semconv
from otel_search.settings import rows

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "elasticsearch.md").read_text(encoding="utf-8")
ROOM = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "otel_search" / "elasticsearch").glob("*.py"))

# Names of what this page is not about, and what is an event's, a metric's or a logger's.
NAMES = {name: value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
EMITTED = {value for name, value in NAMES.items() if f"semconv.{name}" in ROOM and "." in value and " " not in value}
METRICS = {metric.name for metric in semconv.METRICS if metric.name.startswith(("db.", "search.client."))}


def test_every_name_that_is_emitted_is_on_the_page() -> None:
    assert len(EMITTED) > 40
    assert not {name for name in EMITTED | METRICS if f"`{name}`" not in PAGE}


def test_every_name_on_the_page_is_one_of_the_schema() -> None:
    known = set(NAMES.values()) | {metric.name for metric in semconv.METRICS}
    named = set(re.findall(r"`((?:search|db|server|url|http|error|elasticsearch)\.[a-z_.]+)`", PAGE))
    assert not named - known - {"elasticsearch.dsl", "search.sniff"}


def test_every_metric_has_the_attributes_that_the_page_says() -> None:
    for metric in semconv.METRICS:
        if metric.name in METRICS:
            (row,) = re.findall(rf"^\| `{re.escape(metric.name)}` \| (.*) \|$", PAGE, re.MULTILINE)
            assert {name for name in re.findall(r"`([a-z_.]+)`", row) if "." in name} == set(metric.attributes)


def test_every_setting_on_the_page_exists() -> None:
    variables = {row.variable for row in rows()} | {"OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED"}
    assert not set(re.findall(r"`(OTEL_[A-Z_]+)", PAGE)) - variables
