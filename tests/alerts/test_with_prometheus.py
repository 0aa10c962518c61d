"""The whole way: errors of a service, a real Prometheus, a real Alertmanager, a real mail server."""

from __future__ import annotations

import json
from email.message import EmailMessage
from pathlib import Path

import pytest

from otel_search.alerts.catalogue import catalogue
from otel_search.alerts.expression import leaves
from otel_search.cli import main
from tests.alerts.mail_server import MailServer
from tests.alerts.test_embedded import burst
from tests.backends.alertmanager import Alertmanager
from tests.backends.fixtures import require
from tests.backends.prometheus import Prometheus
from tests.changing_engine import ChangingEngine
from tests.service import eventually, serve

pytestmark = pytest.mark.backends

SCALE = "0.01"
WINDOW = "3s"


class DrillingPrometheus(Prometheus):
    """A Prometheus that scrapes one service all the time, with rendered rules.

    Args:
        directory: With `prometheus/rules`, as rendered.
        target: `host:port` of the service.
        alertmanager: The same of Alertmanager.
    """

    def __init__(self, directory: Path, target: str, alertmanager: str) -> None:
        super().__init__(directory / "data")
        self._content = {
            "global": {"scrape_interval": "400ms", "scrape_timeout": "400ms", "evaluation_interval": "200ms"},
            "rule_files": [str(directory / "prometheus" / "rules" / "*.yaml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
            "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [target]}]}],
        }

    def _write_config(self) -> None:
        self._config.write_text(json.dumps(self._content), encoding="utf-8")


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_an_error_burst_is_one_mail_and_its_end_another(tmp_path: Path) -> None:
    require("prometheus")
    require("alertmanager")
    env = {"TMPDIR": str(tmp_path), "OTEL_SEARCH_ACCESS_LOG": "off"}
    options = [
        "--smtp-host",
        "127.0.0.1",
        "--smtp-security",
        "plain",
        "--to",
        "ops@example.org",
        "--from",
        "am@example.org",
    ]
    with MailServer() as mails, serve("alerting:app", env=env, ready="/items/ready") as service:
        arguments = ["alerts", "render", "--out", str(tmp_path), "--time-scale", SCALE, "--smtp-port", str(mails.port)]
        assert main([*arguments, *options]) == 0
        with (
            Alertmanager(
                tmp_path / "alertmanager-data", tmp_path / "alertmanager" / "alertmanager.yaml"
            ) as alertmanager,
            DrillingPrometheus(tmp_path, f"127.0.0.1:{service.port}", alertmanager.address("web")) as prometheus,
        ):
            assert service.get("/status/200").status_code == 200
            # The instance has been there for a window; of errors it has none, not even a series.
            eventually(lambda: prometheus.query(f"target_info offset {WINDOW}"))
            assert not prometheus.query('http_server_request_duration_seconds_count{http_response_status_code="500"}')
            burst(service)
            eventually(lambda: mails.subjects("[CRITICAL] shop: HighErrorRate"))
            eventually(lambda: mails.subjects("[RESOLVED] shop: HighErrorRate"))
            assert len(mails.subjects("HighErrorRate")) == 2
    begin, end = (mail for mail in mails.mails if "HighErrorRate" in mail["Subject"])
    assert (begin["To"], begin["From"]) == ("ops@example.org", "am@example.org")
    assert begin["Subject"].endswith("of the requests to shop fail (more than 5%)")
    lines = [line.strip() for line in text_of(begin).splitlines()]
    assert {"alert:    HighErrorRate", "status:   firing", "severity: critical", "job: shop"} <= set(lines)
    assert "runbook:  docs/alerts.md#higherrorrate" in lines
    assert any(line.startswith("until: ") for line in text_of(end).splitlines())


def test_rules_name_what_a_service_shows_at_metrics(tmp_path: Path) -> None:
    with ChangingEngine() as engine:
        env = {"ENGINE": engine.url, "TMPDIR": str(tmp_path), "OTEL_SEARCH_ALERTS": "embedded"}
        with serve("healthy:app", env=env, ready="/items/healthy") as service:
            service.get("/search")
            service.get("/health")
            read = {
                leaf.series.name
                for rule in catalogue()
                if "process" in rule.readers and rule.expression is not None
                for leaf in leaves(rule.expression)
            }
            # What has not happened has no series: nothing was lost, nothing was sent in bulk.
            expected = read - {"", "search_telemetry_dropped_total", "search_client_bulk_items_total"}

            def missing() -> set[str]:
                text = service.get("/metrics").text
                return {name for name in expected if f"\n{name}" not in text}

            eventually(lambda: not missing() or None)
            assert "search_alerts_firing{" in service.get("/metrics").text
