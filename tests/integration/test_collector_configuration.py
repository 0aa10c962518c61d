"""Every configuration under collector/ is accepted by the program that reads it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.backends.components import find
from tests.backends.fixtures import require

pytestmark = pytest.mark.backends

CONFIG = Path(__file__).parents[2] / "collector"


def accepted(program: str, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
    require(program)
    result = subprocess.run(
        [str(find(program)), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


# Those with a component that only the official image carries are checked in tests/collector/test_official_image.py.
DESTINATIONS = ("jaeger", "prometheus", "file", "elasticsearch-otlp", "elasticsearch-otlp elasticsearch-otlp-traces")
LAYERS = ("span_metrics", "search_metrics", "receivers/scrape", "receivers/tls", "receivers/token")
VARIABLES = {
    "COLLECTOR_OTLP_TOKEN": "token",
    "COLLECTOR_TLS_CERT_FILE": "certificate.pem",
    "COLLECTOR_TLS_KEY_FILE": "key.pem",
}


def collector_accepts(*layers: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
    files = (CONFIG / f"{layer}.yaml" for layer in ("collector", "redaction", *layers))
    accepted("otelcol-search", "validate", *(f"--config={file}" for file in files), variables=variables)


def test_collector_accepts_its_base_alone() -> None:
    collector_accepts()


@pytest.mark.parametrize("names", DESTINATIONS)
def test_collector_accepts_each_destination_alone(names: str) -> None:
    collector_accepts(*(f"exporters/{name}" for name in names.split()))


@pytest.mark.parametrize("layer", LAYERS)
def test_collector_accepts_each_layer_alone(layer: str) -> None:
    collector_accepts(layer, variables=VARIABLES)


@pytest.mark.parametrize(
    "layers",
    [
        ("span_metrics", "search_metrics", "scale/to-kafka"),
        ("scale/to-kafka", "scale/kafka-tls"),
        (
            "scale/from-kafka",
            "scale/tail_sampling",
            "exporters/jaeger",
            "exporters/prometheus",
            "exporters/elasticsearch-otlp",
        ),
        ("scale/from-kafka", "scale/kafka-tls", "exporters/jaeger"),
        ("scale/tail_sampling", "exporters/jaeger", "exporters/prometheus", "exporters/elasticsearch-otlp"),
    ],
    ids=" ".join,
)
def test_collector_accepts_agents_and_gateways(layers: tuple[str, ...]) -> None:
    collector_accepts(*layers, variables={"KAFKA_USERNAME": "agent", "KAFKA_PASSWORD": "secret"})


def test_collector_accepts_everything_together() -> None:
    names = {name: None for names in DESTINATIONS for name in names.split()}
    collector_accepts(*(f"exporters/{name}" for name in names), *LAYERS, variables=VARIABLES)


@pytest.mark.parametrize("storage", ["memory", "elasticsearch"])
def test_jaeger_accepts_its_configuration(storage: str) -> None:
    accepted("jaeger", "validate", *(f"--config={CONFIG / 'jaeger' / name}.yaml" for name in ("jaeger", storage)))


def test_prometheus_accepts_its_configuration() -> None:
    accepted(
        "promtool", "check", "config", "--lint=all", "--lint-fatal", str(CONFIG / "prometheus" / "prometheus.yaml")
    )
