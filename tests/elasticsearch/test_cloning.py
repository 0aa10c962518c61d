"""Clients are made as without us, only that the environment is not read again for each of their namespaces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from otel_search.settings import Settings
from tests.elasticsearch.recorded import Recorded, recording

_otel = pytest.importorskip("elasticsearch._otel", reason="clients below 8.13 have no telemetry of their own")

ENABLED = "OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED"
TEXT = "OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_CAPTURE_SEARCH_QUERY"


def made(**kwargs: Any) -> Mapping[str, Any]:
    return vars(_otel.OpenTelemetry(**kwargs))


def as_without_us(**kwargs: Any) -> Mapping[str, Any]:
    plain = _otel.OpenTelemetry.__new__(_otel.OpenTelemetry)
    _otel.OpenTelemetry.__init__.__wrapped__(plain, **kwargs)
    return vars(plain)


def test_what_a_client_makes_of_its_variables_is_the_same_whenever_they_change(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for enabled, text in [
        (None, None),
        ("false", None),
        ("false", "raw"),
        (None, "raw"),
        ("true", "omit"),
        (None, None),
    ]:
        for name, value in ((ENABLED, enabled), (TEXT, text)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        for _ in range(3):
            assert made() == as_without_us()
        seen.append((made()["enabled"], made()["body_strategy"]))
    assert seen == [(True, "omit"), (False, "omit"), (False, "raw"), (True, "raw"), (True, "omit"), (True, "omit")]
    assert made(enabled=False, body_strategy="raw") == as_without_us(enabled=False, body_strategy="raw")
    monkeypatch.setattr(_otel, "_tracer", None)
    assert made() == as_without_us()
    assert not made()["enabled"]


def test_a_value_that_the_client_refuses_is_refused_each_time(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    made()
    monkeypatch.setenv(TEXT, "all of it")
    for _ in range(2):
        with pytest.raises(AssertionError):
            made()
    monkeypatch.delenv(TEXT)
    assert made() == as_without_us()


def test_the_environment_is_read_once_for_all_namespaces(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    import elasticsearch

    client = elasticsearch.Elasticsearch("http://127.0.0.1:9200")
    read: list[str] = []

    class Environment(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            read.append(name)
            return os.environ.get(name, default)

    monkeypatch.setattr(_otel, "os", SimpleNamespace(environ=Environment()))
    clones = [client.options(request_timeout=seconds) for seconds in range(1, 4)]
    assert read == []
    assert {clone.indices._otel.enabled for clone in clones} == {True}
    client.close()


def test_upstreams_way_is_left_alone_if_asked() -> None:
    with recording(Settings(hot_path="upstream")):
        assert not hasattr(_otel.OpenTelemetry.__init__, "__wrapped__")
    with recording(Settings(hot_path="lean")):
        assert hasattr(_otel.OpenTelemetry.__init__, "__wrapped__")
    assert not hasattr(_otel.OpenTelemetry.__init__, "__wrapped__")
