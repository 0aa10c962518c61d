"""Files for the official Collector image, whose exporters cannot be run here: their keys are the documented ones, the rest is checked by running it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.backends.components import find
from tests.backends.fixtures import require
from tests.collector.layers import COLLECTOR, merged, undefined

# From elasticsearchexporter/README.md, loadbalancingexporter/README.md, confighttp and exporterhelper of 0.155.0.
HTTP = {"endpoint", "timeout", "headers", "tls.ca_file", "tls.insecure"}
QUEUE = {
    f"sending_queue.{key}"
    for key in (
        "enabled", "storage", "wait_for_result", "block_on_overflow", "sizer", "queue_size", "num_consumers",
        "batch.sizer", "batch.flush_timeout", "batch.min_size", "batch.max_size",
    )
}  # fmt: skip
RETRY = {f"retry.{key}" for key in ("enabled", "max_retries", "initial_interval", "max_interval", "retry_on_status")}
BACK_OFF = {f"retry_on_failure.{key}" for key in ("enabled", "initial_interval", "max_interval", "max_elapsed_time")}
RESOLVER = {f"resolver.dns.{key}" for key in ("hostname", "port", "interval", "timeout")}
DOCUMENTED = {
    "elasticsearch": HTTP | QUEUE | RETRY | {"mapping.mode", "headers.Authorization"},
    "loadbalancing": QUEUE
    | BACK_OFF
    | RESOLVER
    | {"routing_key", "protocol.otlp.tls.insecure", "protocol.otlp.timeout"},
}
VARIANTS = {
    "elasticsearch": ("exporters/elasticsearch", "exporters/elasticsearch-traces", "exporters/jaeger"),
    "loadbalancing": ("span_metrics", "search_metrics", "scale/to-gateways"),
}


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from keys(each, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix


@pytest.mark.parametrize("component", DOCUMENTED)
def test_an_exporter_that_is_only_in_the_official_image_has_documented_keys(component: str) -> None:
    files = [COLLECTOR / f"{layer}.yaml" for layer in ("collector", "redaction", *VARIANTS[component])]
    configuration = merged(files)
    assert set(keys(configuration["exporters"][component])) <= DOCUMENTED[component]
    assert not undefined(configuration)
    (own,) = [file for file in files if component in (yaml.safe_load(file.read_text("utf-8")).get("exporters") or {})]
    assert "otel/opentelemetry-collector-contrib:0.155.0" in own.read_text("utf-8"), "its header says for which version"


@pytest.mark.backends
@pytest.mark.parametrize("component", DOCUMENTED)
def test_nothing_else_is_wrong_with_it(component: str) -> None:
    require("otelcol-search")
    layers = ("collector", "redaction", *VARIANTS[component])
    command = [str(find("otelcol-search")), "validate", *(f"--config={COLLECTOR / layer}.yaml" for layer in layers)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
    errors = [line for line in said.splitlines() if "error decoding" in line or "unknown type" in line or "* '" in line]
    assert f'unknown type: "{component}"' in said
    assert not [line for line in errors if component not in line], said
