"""An application that exports to a second place, by exporters of its own."""

import os

for signal in ("TRACES", "METRICS", "LOGS"):
    os.environ[f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"] = f"{os.environ['ELSEWHERE']}/v1/{signal.lower()}"

from own_telemetry import app  # noqa: E402

__all__ = ["app"]
