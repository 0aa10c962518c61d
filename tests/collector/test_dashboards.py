"""The dashboards: generated from the schema, whole, and every query finds something in a service that has had a bad day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from otel_search.demo import engine, load
from otel_search.demo.run import fill
from otel_search.processes import Processes
from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.prometheus import Prometheus
from tests.backends.server import free_ports
from tests.collector import otlp
from tests.collector.faulty_proxy import faulty_proxy
from tests.collector.refusing import refusing
from tests.service import eventually, serve

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "collector" / "grafana" / "provisioning"
FILES = sorted((PROVISIONING / "dashboards").glob("*.json"))
RULE = """
groups:
  - name: test
    interval: 1s
    rules: [{alert: AlwaysFiring, expr: vector(1), labels: {severity: info}}]
"""

DASHBOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


QUERIES = [
    pytest.param(target["expr"], id=f"{uid.removeprefix('otel-search-')}: {panel['title']} {target['refId']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
    for target in panel["targets"]
]


def test_the_dashboards_are_what_the_code_generates() -> None:
    check = [sys.executable, "-m", "dashboards", "--check"]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_has_its_files_name_a_unit_on_each_panel_and_the_variables(uid: str) -> None:
    dashboard = DASHBOARDS[uid]
    assert dashboard["uid"] == uid
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert {"service", "environment", "instance"} <= set(variables)
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "prometheus"
        for target in panel["targets"]:
            used = set(re.findall(r"\$(?!__)(\w+)", target["expr"]))
            assert used <= set(variables), panel["title"]


def test_panels_do_not_overlap() -> None:
    for dashboard in DASHBOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place.get("x", 0), place.get("x", 0) + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert all(x < 24 for x, _ in cells), panel["title"]
            taken |= cells


def test_data_sources_lead_to_each_other() -> None:
    document = yaml.safe_load((PROVISIONING / "datasources" / "datasources.yaml").read_text("utf-8"))
    sources = {source["uid"]: source for source in document["datasources"]}
    assert [each["datasourceUid"] for each in sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]] == [
        "jaeger"
    ]
    assert sources["jaeger"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] in sources
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] in sources
    assert {link["datasourceUid"] for link in sources["elasticsearch-logs"]["jsonData"]["dataLinks"]} == {"jaeger"}
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "dashboards.yaml").read_text("utf-8"))["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def nowhere() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after a service, its engine and its Collector had all kinds of trouble."""
    for program in ("otelcol-search", "prometheus"):
        require(program)
    home = tmp_path_factory.mktemp("bad-day")
    rules = home / "prometheus" / "rules"
    rules.mkdir(parents=True)
    (rules / "always-firing.yaml").write_text(RULE, encoding="utf-8")
    layers = ("exporters/jaeger", "exporters/prometheus", "exporters/elasticsearch-otlp")
    traces = "exporters/elasticsearch-otlp-traces"
    with contextlib.ExitStack() as stack:
        prometheus = stack.enter_context(Prometheus(home / "prometheus"))
        refused = stack.enter_context(refusing())
        away = f"http://{nowhere()}"
        started = [
            stack.enter_context(Collector(home / name, names, variables))
            for name, names, variables in (
                (
                    "well",
                    ("exporters/prometheus", "span_metrics", "search_metrics"),
                    {"PROMETHEUS_URL": prometheus.url, "COLLECTOR_SPAN_METRICS_INTERVAL": "1s"},
                ),
                ("refused", (*layers[1:], traces), {"PROMETHEUS_URL": refused, "ELASTICSEARCH_URL": refused}),
                (
                    "full",
                    layers,
                    {
                        "JAEGER_OTLP_ENDPOINT": nowhere(),
                        "PROMETHEUS_URL": away,
                        "ELASTICSEARCH_URL": away,
                        "COLLECTOR_QUEUE_BYTES": "10",
                    },
                ),
            )
        ]
        well, *troubled = started
        prometheus.scrape({"otelcol": [collector.address("metrics") for collector in started]})
        with httpx.Client() as client:
            for collector in troubled:
                for signal in otlp.SIGNALS:
                    otlp.send(client, collector.http_url, signal, otlp.numbered(signal, "troubled", 1))
        processes = stack.enter_context(Processes(home))
        engine_url = engine.start_engine(processes, os.environ)
        asyncio.run(fill(engine_url))
        proxy, faults = stack.enter_context(faulty_proxy(engine_url))
        variables = {
            "ELASTICSEARCH_URL": proxy,
            "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": well.http_url,
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{refused}/v1/logs",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        shop = stack.enter_context(
            serve("otel_search.demo.app:app", env={**variables, "OTEL_SERVICE_NAME": "shop"}, ready="/health/ready")
        )
        office = stack.enter_context(serve("operations:app", env={**variables, "OTEL_SERVICE_NAME": "office"}))
        # Twice: a counter that Prometheus sees for the first time has not increased.
        for times in (1, 2):
            faults.refuse, faults.time_out = 1, 2
            load.send(shop.url)
            for path in ("/search?q=shoes", "/fails"):
                office.get(path)
            slow = 'http_server_request_duration_seconds_count{job="shop", http_route="/products/report"}'
            failed = 'search_operation_duration_seconds_count{job="office", search_operation_name="checkout"}'
            for count in (slow, failed):
                eventually(lambda count=count, times=times: [s.value for s in prometheus.query(count)] == [times])
        yield prometheus


@pytest.mark.backends
@pytest.mark.parametrize("expression", QUERIES)
def test_each_query_finds_something(bad_day: Prometheus, expression: str) -> None:
    for variable, value in {
        "$__rate_interval": "5m",
        "$__range": "5m",
        "$objective": "99.9",
        "$threshold": "0.25",
        "$service": ".*",
        "$environment": "test",
        "$instance": ".*",
    }.items():
        expression = expression.replace(variable, value)
    assert eventually(lambda: bad_day.query(expression)), expression
