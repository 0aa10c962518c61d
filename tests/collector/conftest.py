"""The whole fan-out with real programs: the Collector, Jaeger stored in OpenSearch, Prometheus, and a counted store of log records."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.jaeger import Jaeger
from tests.backends.opensearch import OpenSearch
from tests.backends.prometheus import Prometheus
from tests.collector.log_store import LogStore

LAYERS = (
    "exporters/jaeger",
    "exporters/prometheus",
    "exporters/elasticsearch-otlp",
    "span_metrics",
    "search_metrics",
)


@dataclass(frozen=True)
class FanOut:
    """What is started, and what has arrived where."""

    collector: Collector
    jaeger: Jaeger
    storage: OpenSearch
    prometheus: Prometheus
    logs: LogStore

    def spans(self, service: str) -> Counter[tuple[str, str]]:
        """How often each span of a service, by trace and span id, is in Jaeger's storage."""
        return stored_spans(self.storage, service)

    def numbers(self, signal: str, service: str) -> Counter[int]:
        """How often each number that a `Sender` sent has arrived."""
        if signal == "traces":
            return Counter({int(trace_id, 16): count for (trace_id, _), count in self.spans(service).items()})
        if signal == "metrics":
            series = self.prometheus.query(f'count_over_time(numbered{{job="{service}"}}[1h])')
            return Counter({int(each.labels["number"]): int(each.value) for each in series})
        return Counter({int(body): count for body, count in self.logs.bodies(service).items()})


def stored_spans(storage: OpenSearch, service: str) -> Counter[tuple[str, str]]:
    """How often each span of a service is in Jaeger's storage."""
    query = {
        "size": 10000,
        "_source": ["traceID", "spanID"],
        "query": {"term": {"process.serviceName": service}},
    }
    request = urllib.request.Request(
        f"{storage.url}/jaeger-span-*/_search?ignore_unavailable=true",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    refresh = urllib.request.Request(f"{storage.url}/jaeger-span-*/_refresh", method="POST")
    try:
        for each in (refresh, request):
            with opener.open(each, timeout=30) as response:
                answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 503:  # the day's index is being made, or found again after a restart
                raise
        return Counter()
    assert answer["hits"]["total"]["value"] <= 10000
    return Counter((hit["_source"]["traceID"], hit["_source"]["spanID"]) for hit in answer["hits"]["hits"])


@pytest.fixture(scope="package")
def fan_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FanOut]:
    for program in ("otelcol-search", "jaeger", "opensearch", "prometheus"):
        require(program)
    home = tmp_path_factory.mktemp("fan-out")
    with (
        OpenSearch(home / "opensearch") as storage,
        Prometheus(home / "prometheus") as prometheus,
        LogStore() as logs,
        Jaeger(
            home / "jaeger",
            "elasticsearch",
            {"JAEGER_ELASTICSEARCH_URL": storage.url, "JAEGER_PROMETHEUS_URL": prometheus.url},
        ) as jaeger,
        Collector(
            home / "collector",
            LAYERS,
            {
                "JAEGER_OTLP_ENDPOINT": jaeger.address("otlp"),
                "PROMETHEUS_URL": prometheus.url,
                "ELASTICSEARCH_URL": logs.url,
                "ELASTICSEARCH_AUTHORIZATION": "ApiKey key",
                "COLLECTOR_SPAN_METRICS_INTERVAL": "1s",
            },
        ) as collector,
    ):
        prometheus.scrape({"otelcol": collector.address("metrics"), "jaeger": jaeger.address("metrics")})
        yield FanOut(collector, jaeger, storage, prometheus, logs)
