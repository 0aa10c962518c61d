"""Every configuration under collector/ is accepted by the program that reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.backends.components import find
from tests.backends.fixtures import require

pytestmark = pytest.mark.backends

CONFIG = Path(__file__).parents[2] / "collector"


def accepted(program: str, *arguments: str) -> None:
    require(program)
    result = subprocess.run([str(find(program)), *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "exporters",
    [("jaeger",), ("prometheus",), ("file",), ("jaeger", "prometheus", "file")],
    ids=" ".join,
)
def test_collector_accepts_each_destination_alone_and_all_together(exporters: tuple[str, ...]) -> None:
    layers = [CONFIG / "collector.yaml", *(CONFIG / "exporters" / f"{name}.yaml" for name in exporters)]
    accepted("otelcol-search", "validate", *(f"--config={layer}" for layer in layers))


def test_jaeger_accepts_its_configuration() -> None:
    accepted("jaeger", "validate", f"--config={CONFIG / 'jaeger' / 'jaeger-memory.yaml'}")


def test_prometheus_accepts_its_configuration() -> None:
    accepted(
        "promtool", "check", "config", "--lint=all", "--lint-fatal", str(CONFIG / "prometheus" / "prometheus.yaml")
    )
