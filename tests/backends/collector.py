"""The Collector with the project's own configuration, and the log records that it wrote to its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = Path(__file__).parents[2] / "collector"


@dataclass(frozen=True)
class LogRecord:
    """A log record as the Collector received it; field names are the OTLP data model's.

    Args:
        timestamp: In nanoseconds since the epoch; 0 if the sender gave none.
        trace_id: 32 hexadecimal digits, or empty outside of a trace.
        span_id: 16 hexadecimal digits, or empty.
        scope: The name of the instrumentation scope.
    """

    timestamp: int
    severity_text: str
    severity_number: int
    body: Any
    trace_id: str
    span_id: str
    event_name: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str


class Collector(Server):
    """A Collector process with collector.yaml, redaction.yaml and the chosen layers.

    Args:
        directory: Where its log, its queues and the file of log records go.
        layers: Files under collector/, without their suffix: ``exporters/jaeger``.
        variables: What those files read from the environment.
    """

    program = "otelcol-search"
    port_names = ("grpc", "http", "health", "metrics")

    def __init__(self, directory: Path, layers: Sequence[str], variables: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._layers = tuple(layers)
        self._variables = dict(variables)

    def arguments(self) -> list[str]:
        """Return the command line after the program."""
        return [f"--config={CONFIG / layer}.yaml" for layer in ("collector", "redaction", *self._layers)]

    def environment(self) -> dict[str, str]:
        """Return the variables that collector.yaml and the layers read."""
        return {
            "COLLECTOR_OTLP_GRPC_ENDPOINT": self.address("grpc"),
            "COLLECTOR_OTLP_HTTP_ENDPOINT": self.address("http"),
            "COLLECTOR_HEALTH_ENDPOINT": self.address("health"),
            "COLLECTOR_METRICS_PORT": str(self.ports["metrics"]),
            "COLLECTOR_QUEUE_DIRECTORY": str(self.directory / "queue"),
            "COLLECTOR_LOG_FILE": str(self.log_file),
            **self._variables,
        }

    def ready_url(self) -> str:
        """Return the URL that answers 200 once all pipelines run."""
        return f"http://{self.address('health')}/"

    @property
    def http_url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be for OTLP over HTTP."""
        return f"http://{self.address('http')}"

    @property
    def grpc_url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be for OTLP over gRPC."""
        return f"http://{self.address('grpc')}"

    @property
    def log_file(self) -> Path:
        """The file of received log records, one export request a line."""
        return self.directory / "received" / "logs.jsonl"

    def log_records(self) -> list[LogRecord]:
        """Return all log records received so far, oldest request first."""
        records = []
        # Rotated files carry a time before the suffix, which sorts in front of the present one.
        for file in sorted(self.log_file.parent.glob(f"{self.log_file.stem}*{self.log_file.suffix}")):
            for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):  # else it is being written
                    records += _records(json.loads(line))
        return records


def _records(request: dict[str, Any]) -> list[LogRecord]:
    return [
        LogRecord(
            timestamp=int(record.get("timeUnixNano", 0)),
            severity_text=record.get("severityText", ""),
            severity_number=record.get("severityNumber", 0),
            body=_value(record.get("body", {})),
            trace_id=record.get("traceId", ""),
            span_id=record.get("spanId", ""),
            event_name=record.get("eventName", ""),
            attributes=_attributes(record),
            resource=_attributes(resource_logs.get("resource", {})),
            scope=scope_logs.get("scope", {}).get("name", ""),
        )
        for resource_logs in request.get("resourceLogs", [])
        for scope_logs in resource_logs.get("scopeLogs", [])
        for record in scope_logs.get("logRecords", [])
    ]


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value", {})) for pair in holder.get("attributes", [])}


def _value(value: dict[str, Any]) -> Any:
    """Turn an OTLP/JSON AnyValue into the plain value; an absent one is None."""
    match value:
        case {"intValue": number}:
            return int(number)  # JSON carries 64-bit integers as strings
        case {"arrayValue": array}:
            return [_value(each) for each in array.get("values", [])]
        case {"kvlistValue": pairs}:
            return {pair["key"]: _value(pair.get("value", {})) for pair in pairs.get("values", [])}
        case {"stringValue": plain} | {"boolValue": plain} | {"doubleValue": plain} | {"bytesValue": plain}:
            return plain
    return None
