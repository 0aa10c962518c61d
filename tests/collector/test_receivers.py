"""The ways in: TLS and a token for those who push, a scrape for those who do not."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.prometheus import Prometheus
from tests.collector import otlp
from tests.collector.log_store import LogStore
from tests.service import eventually, serve

pytestmark = pytest.mark.backends


def test_with_tls_and_a_token_only_those_get_in_who_have_both(tmp_path: Path) -> None:
    require("otelcol-search")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with LogStore() as logs:
        variables = {
            "ELASTICSEARCH_URL": logs.url,
            "COLLECTOR_TLS_CERT_FILE": str(tmp_path / "certificate.pem"),
            "COLLECTOR_TLS_KEY_FILE": str(tmp_path / "key.pem"),
            "COLLECTOR_OTLP_TOKEN": "letmein",
        }
        layers = ("receivers/tls", "receivers/token", "exporters/elasticsearch-otlp")
        with Collector(tmp_path / "collector", layers, variables) as collector:
            request = otlp.numbered("logs", "secured", 1)
            with httpx.Client() as plain, pytest.raises(httpx.HTTPError):
                otlp.send(plain, collector.http_url, "logs", request)
            url = collector.http_url.replace("http:", "https:")
            with httpx.Client(verify=trustme_context(tmp_path)) as client:
                for headers in ({}, {"authorization": "Bearer guessed"}):
                    assert client.post(f"{url}/v1/logs", json=request, headers=headers).status_code == 401
                client.headers["authorization"] = "Bearer letmein"
                otlp.send(client, url, "logs", request)
            eventually(lambda: logs.bodies("secured") == {"1": 1})


def trustme_context(directory: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(directory / "authority.pem"))


@pytest.mark.parametrize(
    ("redacted_by", "distro", "hidden"),
    [("otel-search", "otel-search", False), ("otel-search", "", True), ("none", "otel-search", True)],
    ids=["its own", "another's", "everything"],
)
def test_redaction_is_for_those_who_do_not_redact_themselves(
    tmp_path: Path, redacted_by: str, distro: str, hidden: bool
) -> None:
    require("otelcol-search")
    with LogStore() as logs:
        variables = {"ELASTICSEARCH_URL": logs.url, "COLLECTOR_REDACTED_BY": redacted_by}
        with Collector(tmp_path, ("exporters/elasticsearch-otlp",), variables) as collector, httpx.Client() as client:
            request = otlp.numbered("logs", "routed", 1)
            (resource,) = request["resourceLogs"]
            resource["resource"]["attributes"] += otlp.attributes(telemetry__distro__name=distro)
            resource["scopeLogs"][0]["logRecords"][0]["attributes"] = otlp.attributes(password="hunter2")
            otlp.send(client, collector.http_url, "logs", request)
        ((_, record),) = eventually(lambda: logs.records)
        ((key, value),) = [(pair.key, pair.value.string_value) for pair in record.attributes if pair.key == "password"]
        assert (value != "hunter2") is hidden, key


def test_a_service_that_pushes_no_metrics_is_scraped_and_has_its_exemplars(tmp_path: Path) -> None:
    for program in ("otelcol-search", "prometheus"):
        require(program)
    with (
        Prometheus(tmp_path / "prometheus") as prometheus,
        serve("operations:app", env={"OTEL_METRICS_EXPORTER": "none"}) as service,
    ):
        variables = {
            "PROMETHEUS_URL": prometheus.url,
            "COLLECTOR_SCRAPE_TARGETS": f"[127.0.0.1:{service.port}]",
            "COLLECTOR_SCRAPE_INTERVAL": "1s",
            "COLLECTOR_SCRAPE_JOB": "scraped",
        }
        with Collector(tmp_path / "collector", ("receivers/scrape", "exporters/prometheus"), variables):
            assert service.get("/search?q=shoes").status_code == 200
            count = 'http_server_request_duration_seconds_count{job="scraped", http_route="/search"}'
            (series,) = eventually(lambda: prometheus.query(count))
            assert series.value == 1
            found = eventually(
                lambda: prometheus.exemplars('http_server_request_duration_seconds_bucket{job="scraped"}')
            )
            assert all(len(each.labels["trace_id"]) == 32 for each in found)
