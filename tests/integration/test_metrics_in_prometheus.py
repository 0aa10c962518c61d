"""The same traffic on both ways to Prometheus: from /metrics, and through the Collector. Names, sums and quantiles agree."""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from otel_search import semconv
from otel_search.kpis.definitions import DEFINITIONS
from otel_search.metrics.names import metric_name
from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.prometheus import Prometheus
from tests.changing_engine import ChangingEngine
from tests.service import Service, eventually, free_port, serve

pytestmark = pytest.mark.backends

DOCS = Path(__file__).parents[2] / "docs"
SLEEPS = [20] * 160 + [120] * 160 + [700] * 80
SEARCHES = 60
OTHERS = {
    "search_after",
    "search_phase_execution_exception",
    "search_default",
    "search_metrics",
    *(definition.name for definition in DEFINITIONS),
}
"""What is named like a metric and is none: Elasticsearch's own words, Collector components, and KPIs."""
COUNT = "http_server_request_duration_seconds_count"
SCRAPED = """
exporters:
  prometheus/scraped: {{endpoint: "127.0.0.1:{port}", enable_open_metrics: true}}
service:
  pipelines:
    metrics/scraped: {{receivers: [otlp], processors: [memory_limiter], exporters: [prometheus/scraped]}}
"""


class TwoJobs(Prometheus):
    """Scrapes the service and the Collector, whose labels it keeps."""

    targets_by_job: dict[str, str]

    def _write_config(self) -> None:
        jobs = ", ".join(
            f"{{job_name: {job}, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}"
            for job, target in self.targets_by_job.items()
        )
        self._config.write_text(
            f"global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs: [{jobs}]\n", encoding="utf-8"
        )


@dataclass(frozen=True)
class Seen:
    """What there is to look at after the traffic.

    Attributes:
        ways: A selector of each way's series.
        texts: What each way's endpoint says.
    """

    service: Service
    collector: Collector
    prometheus: Prometheus
    ways: dict[str, str]
    texts: dict[str, str]

    def one(self, expression: str) -> float:
        (series,) = self.prometheus.query(expression)
        return series.value


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    for program in ("otelcol-search", "prometheus"):
        require(program)
    directory = tmp_path_factory.mktemp("two-ways")
    port = free_port()
    (directory / "scraped.yaml").write_text(SCRAPED.format(port=port))
    with ChangingEngine() as engine, Collector(directory / "collector", (str(directory / "scraped"),), {}) as collector:
        engine.delay = 0.12
        env = {
            "ENGINE": engine.url,
            "TMPDIR": str(directory),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        with serve("sleeping:app", "--workers", "4", env=env, ready="/docs") as service:
            eventually(lambda: len(list(directory.glob("otel-search-*/*/*.sock"))) == 4)
            prometheus = TwoJobs(directory / "prometheus")
            prometheus.targets_by_job = {
                "pulled": f"127.0.0.1:{service.port}",
                "collector": f"127.0.0.1:{port}",
            }
            paths = [f"/sleep/{sleep}" for sleep in SLEEPS] + ["/search"] * SEARCHES
            random.Random(7).shuffle(paths)
            with prometheus:
                with ThreadPoolExecutor(24) as pool:
                    assert {answer.status_code for answer in pool.map(service.get, paths)} == {200}
                ways = {"pulled": 'job="pulled"', "collector": 'job="test-service"'}
                for selector in ways.values():
                    query = f'sum({COUNT}{{{selector},http_route=~"/sleep.*|/search"}})'
                    eventually(lambda q=query: [each.value for each in prometheus.query(q)] == [len(paths)])
                texts = {
                    "pulled": service.get("/metrics").text,
                    "collector": httpx.get(f"http://127.0.0.1:{port}/metrics").text,
                }
                yield Seen(service, collector, prometheus, ways, texts)


def bucket(bounds: tuple[float, ...], value: float) -> int:
    return bisect_left(bounds, value)


@pytest.mark.parametrize("way", ["pulled", "collector"])
def test_quantiles_are_right_to_a_bucket(seen: Seen, way: str) -> None:
    selector = seen.ways[way]
    for share, true in ((0.5, 0.12), (0.95, 0.7)):
        for name, more in (
            ("http_server_request_duration_seconds", ',http_route=~"/sleep.*"'),
            ("search_operation_duration_seconds", ',search_operation_name="nap"'),
        ):
            value = seen.one(f"histogram_quantile({share}, sum by (le) ({name}_bucket{{{selector}{more}}}))")
            # On a busy machine all takes longer than it should: at least as long, and within the next bucket or two.
            assert 0 <= bucket(semconv.DURATION_BUCKETS, value) - bucket(semconv.DURATION_BUCKETS, true) <= 1, name
    name = "db_client_operation_duration_seconds"
    value = seen.one(f"histogram_quantile(0.5, sum by (le) ({name}_bucket{{{selector}}}))")
    assert 0 <= bucket(semconv.DB_DURATION_BUCKETS, value) - bucket(semconv.DB_DURATION_BUCKETS, 0.12) <= 1


@pytest.mark.parametrize("way", ["pulled", "collector"])
def test_four_workers_are_exactly_what_was_sent(seen: Seen, way: str) -> None:
    selector = seen.ways[way]
    query = "sum(%s{%s,http_route=~'/sleep.*'})"
    assert seen.one(query % (COUNT, selector)) == len(SLEEPS)
    assert seen.one(f"sum(search_client_searches_total{{{selector}}})") == SEARCHES
    assert seen.one(f"sum(search_operation_duration_seconds_count{{{selector}}})") == len(SLEEPS)


def test_each_worker_is_an_instance_and_none_collides(seen: Seen) -> None:
    (series,) = seen.prometheus.query(f'count(count by (instance) ({COUNT}{{job="test-service"}}))')
    assert 2 <= series.value <= 4, "those that have served"
    log = seen.collector.log.read_text()
    assert "collected before" not in log
    assert "error" not in log.lower().replace("error_mode", ""), log[-2000:]


def families(text: str) -> dict[str, str]:
    """The names of metrics with their types."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {
        name.removesuffix("_total"): kind for name, kind in found if not name.startswith(("target_info", "otel_scope"))
    }


def test_names_and_types_are_the_same_on_both_ways(seen: Seen) -> None:
    pulled, collected = families(seen.texts["pulled"]), families(seen.texts["collector"])
    assert pulled == collected
    assert not [name for name in pulled if re.search(r"total_total|_(seconds|bytes|ratio)_\1|milliseconds", name)]
    for name in ("http_server_request_duration", "db_client_operation_duration", "search_event_loop_lag"):
        assert pulled[f"{name}_seconds"] == "histogram"
    assert not [name for name in pulled if name.startswith("http_server_duration")], "one family of names"


def test_names_in_the_documents_exist(seen: Seen) -> None:
    declared = set()
    for metric in semconv.METRICS:
        kind = {"gauge": "gauge", "counter": "counter", "histogram": "histogram"}.get(metric.instrument, "up_down")
        declared.add(metric_name(metric.name, metric.unit, kind)[0])
    known = {*families(seen.texts["pulled"]), *declared}
    suffixed = known | {f"{name}{suffix}" for name in known for suffix in ("_total", "_count", "_sum", "_bucket")}
    named = re.compile(r"`(?:[^`]*?\W)??((?:http_server|db_client|search|process|system|cpython)_[a-z_]+)\b[^`]*`")
    told = {
        (path.name, name)
        for path in sorted(DOCS.glob("*.md"))
        for name in named.findall(path.read_text(encoding="utf-8"))
        if name not in OTHERS
    }
    assert len(told) > 10
    assert {(path, name) for path, name in told if name not in suffixed} == set()
