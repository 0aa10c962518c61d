"""Jaeger with one of its storages, and its HTTP API as far as tests read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends.server import BackendError, Server, get, get_json

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = Path(__file__).parents[2] / "collector" / "jaeger"


@dataclass(frozen=True)
class Span:
    """A span as Jaeger gives it back.

    Args:
        name: Jaeger's ``operationName``.
        kind: ``server``, ``client``, ``internal``, ``producer`` or ``consumer``.
        duration: In seconds.
        attributes: Span attributes, with Jaeger's own ``otel.*`` and ``span.kind`` tags among them.
        resource: Resource attributes but ``service.name``, which is ``service``.
        events: Each event's attributes, its name under ``event``.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    duration: float
    service: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[dict[str, Any]]


class Jaeger(Server):
    """A Jaeger process that receives OTLP/gRPC.

    Args:
        directory: Where its log goes.
        storage: The file under collector/jaeger/ that says where traces are kept, without its suffix.
        variables: What the files read from the environment beside the ports.
    """

    program = "jaeger"
    port_names = ("otlp", "query", "query_grpc", "health", "metrics")

    def __init__(self, directory: Path, storage: str = "memory", variables: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self._storage = storage
        self._variables = dict(variables or {})

    def arguments(self) -> list[str]:
        """Return the command line after the program."""
        return [f"--config={CONFIG / name}.yaml" for name in ("jaeger", self._storage)]

    def environment(self) -> dict[str, str]:
        """Return the variables that the configuration reads."""
        return {
            "JAEGER_OTLP_ENDPOINT": self.address("otlp"),
            "JAEGER_QUERY_HTTP_ENDPOINT": self.address("query"),
            "JAEGER_QUERY_GRPC_ENDPOINT": self.address("query_grpc"),
            "JAEGER_HEALTH_ENDPOINT": self.address("health"),
            "JAEGER_METRICS_PORT": str(self.ports["metrics"]),
            **self._variables,
        }

    def ready_url(self) -> str:
        """Return the URL that answers 200 once Jaeger receives and serves."""
        return f"http://{self.address('health')}/status"

    @property
    def url(self) -> str:
        """Base URL of the query API."""
        return f"http://{self.address('query')}"

    def services(self) -> list[str]:
        """Return the names of all services with spans."""
        return get_json(f"{self.url}/api/services")["data"] or []

    def spans(self, trace_id: str) -> list[Span]:
        """Return a trace's spans by start time, or nothing if Jaeger does not have the trace.

        Args:
            trace_id: 32 hexadecimal digits.
        """
        status, body = get(f"{self.url}/api/traces/{trace_id}")
        if status == 404:
            return []
        if status != 200:
            raise BackendError(f"Jaeger answered {status} for trace {trace_id}: {body.decode(errors='replace')[:500]}")
        return _spans(json.loads(body)["data"])

    def traces(self, service: str, limit: int = 100) -> dict[str, list[Span]]:
        """Return a service's newest traces by trace id."""
        found = get_json(f"{self.url}/api/traces", {"service": service, "limit": str(limit)})["data"] or []
        return {trace["traceID"]: _spans([trace]) for trace in found}


def _spans(traces: list[dict[str, Any]]) -> list[Span]:
    spans = []
    for trace in traces:
        for span in sorted(trace["spans"], key=lambda each: each["startTime"]):
            process = trace["processes"][span["processID"]]
            attributes = _tags(span["tags"])
            parents = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
            spans.append(
                Span(
                    trace_id=span["traceID"],
                    span_id=span["spanID"],
                    parent_id=parents[0] if parents else None,
                    name=span["operationName"],
                    kind=attributes.get("span.kind", "internal"),
                    duration=span["duration"] / 1e6,
                    service=process["serviceName"],
                    attributes=attributes,
                    resource=_tags(process["tags"]),
                    events=[_tags(event["fields"]) for event in span["logs"]],
                )
            )
    return spans


def _tags(tags: list[dict[str, Any]]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags}
