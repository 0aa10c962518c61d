"""Settings: what cannot be used is one line with name, value and what is accepted, and the default counts."""

from __future__ import annotations

import pytest

from otel_search.settings import Settings, rows


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGS_ELASTICSEARCH_URL", ","),
        ("LOGS_ELASTICSEARCH_URL", "http://a:9200,b:9200"),
        ("ELASTICSEARCH_URL", "http://engine:99999"),
        ("ELASTICSEARCH_URL", "http://engine:nine"),
        ("ELASTICSEARCH_URL", "http:///path"),
        ("ELASTICSEARCH_URL", "http://engine:92 00"),
        ("KPI_SOURCE", "prometheus=http://:9090"),
        ("ALERTS_WEBHOOK_URL", "ftp://hooks/x"),
        ("HEALTH_TIMEOUT", "0"),
        ("HEALTH_TIMEOUT", "nan"),
        ("APDEX_THRESHOLD", "0"),
        ("HEALTH_PATH", "/a/../b"),
        ("METRICS_PATH", "/."),
        ("METRICS_PATH", "/health"),
        ("METRICS_PATH", "/health/ready"),
        ("METRICS_PATH", "/admin/metrics"),
        ("HEALTH_PATH", "/metrics"),
        ("HEALTH_PATH", "/admin/loggers"),
        ("SLOW_QUERY", "1,2"),
    ],
)
def test_what_cannot_be_used_is_one_line(name: str, value: str) -> None:
    found = Settings.read({f"OTEL_SEARCH_{name}": value})
    (line,) = found.faults
    assert line.startswith(f"OTEL_SEARCH_{name}={value!r} is not accepted, using ")
    assert "; accepted: " in line
    assert found == Settings(faults=found.faults), "the defaults count"


def test_no_two_of_our_routes_are_at_one_path() -> None:
    both = Settings.read({"OTEL_SEARCH_HEALTH_PATH": "/metrics", "OTEL_SEARCH_METRICS_PATH": "/metrics/live"})
    assert (both.health_path, both.metrics_path, len(both.faults)) == ("/health", "/metrics", 2)
    swapped = Settings.read({"OTEL_SEARCH_HEALTH_PATH": "/metrics", "OTEL_SEARCH_METRICS_PATH": "/health"})
    assert (swapped.health_path, swapped.metrics_path, swapped.faults) == ("/metrics", "/health", ())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("elastic:hunter2@engine:9200", "'[redacted: user info]@engine:9200'"),
        ("http://elastic:hun/ter2@engine:9200", "'http://[redacted: user info]@engine:9200'"),
        ("ftp://elastic:hunter2@engine", "'ftp://[redacted: user info]@engine'"),
        ("engine:9200", "'engine:9200'"),
    ],
)
def test_a_password_in_what_is_no_url_is_not_shown(value: str, shown: str) -> None:
    (line,) = Settings.read({"OTEL_SEARCH_ELASTICSEARCH_URL": value}).faults
    assert line.startswith(f"OTEL_SEARCH_ELASTICSEARCH_URL={shown} is not accepted")


def test_every_default_is_accepted_as_it_is_shown() -> None:
    environ = {row.variable: row.default_words for row in rows() if row.default_words != "no value"}
    assert Settings.read(environ) == Settings()
