"""Session fixtures that start the real backends once: opensearch, jaeger, prometheus, collector, the last three as backends.

A backend that is not built skips the test with a plain notice. With
OTEL_SEARCH_REQUIRE_BACKENDS=1 it fails the test instead, so that the integration lane
cannot pass by testing nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.backends.collector import Collector
from tests.backends.components import find
from tests.backends.jaeger import Jaeger
from tests.backends.opensearch import OpenSearch
from tests.backends.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

DESTINATIONS = ("exporters/jaeger", "exporters/prometheus", "exporters/file")
REQUIRE = "OTEL_SEARCH_REQUIRE_BACKENDS"


@dataclass(frozen=True)
class Backends:
    """The three running backends; telemetry goes in at the Collector and is read from the others."""

    collector: Collector
    jaeger: Jaeger
    prometheus: Prometheus


def require(program: str) -> None:
    """Skip the test, or fail it if backends are required, when a program is not built.

    Args:
        program: As ``tests.backends.components.find`` knows it.
    """
    if find(program) is None:
        skip_or_fail(f"{program} is not built: run `make backends`")


def skip_or_fail(notice: str) -> None:
    """Skip the test for what is missing, or fail it if backends are required.

    Args:
        notice: What is missing, and what to do.
    """
    match os.environ.get(REQUIRE, ""):
        case "1":
            pytest.fail(f"{notice} ({REQUIRE}=1 forbids to skip)", pytrace=False)
        case "" | "0":
            pytest.skip(notice)
        case other:
            pytest.fail(f"{REQUIRE}={other!r} is not valid: set 1 (missing backends fail) or 0 (skip)", pytrace=False)


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory, prometheus: Prometheus) -> Iterator[Jaeger]:
    """A running Jaeger with an empty memory store."""
    require(Jaeger.program)
    with Jaeger(tmp_path_factory.mktemp("jaeger"), variables={"JAEGER_PROMETHEUS_URL": prometheus.url}) as server:
        yield server


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A running Prometheus that receives OTLP and keeps exemplars."""
    require(Prometheus.program)
    with Prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    """A running OpenSearch node."""
    require(OpenSearch.program)
    with OpenSearch(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger, prometheus: Prometheus) -> Iterator[Collector]:
    """A running Collector: traces to Jaeger, metrics to Prometheus, log records to a file."""
    require(Collector.program)
    variables = {"JAEGER_OTLP_ENDPOINT": jaeger.address("otlp"), "PROMETHEUS_URL": prometheus.url}
    with Collector(tmp_path_factory.mktemp("collector"), DESTINATIONS, variables) as server:
        prometheus.scrape({"otelcol": server.address("metrics"), "jaeger": jaeger.address("metrics")})
        yield server


@pytest.fixture(scope="session")
def backends(collector: Collector, jaeger: Jaeger, prometheus: Prometheus) -> Backends:
    """All three, connected."""
    return Backends(collector, jaeger, prometheus)
