"""OTLP as tests send it by hand: numbered spans, points and records, and how a Collector took them."""

from __future__ import annotations

import os
import time
from typing import Any

import httpx

SIGNALS = ("traces", "metrics", "logs")


def attributes(**values: Any) -> list[dict[str, Any]]:
    """Attributes in OTLP's JSON; a double underscore in a name stands for a dot."""

    def value(given: Any) -> dict[str, Any]:
        kinds = {bool: "boolValue", int: "intValue", float: "doubleValue"}
        return {kinds.get(type(given), "stringValue"): given}

    return [{"key": key.replace("__", "."), "value": value(given)} for key, given in values.items()]


def resource(service: str, **more: Any) -> dict[str, Any]:
    return {"attributes": attributes(service__name=service, service__instance__id="one", **more)}


def span(
    trace_id: str,
    name: str,
    parent: str = "",
    *,
    duration: float = 0.001,
    error: bool = False,
    kind: int = 3,
    **more: Any,
) -> dict[str, Any]:
    """A span that ends now.

    Args:
        trace_id: 32 hexadecimal digits.
        name: Its name.
        parent: The parent's id; a root span has none.
        duration: In seconds.
        error: Whether its status is an error.
        kind: As OTLP numbers it: 2 server, 3 client.
        **more: Attributes.
    """
    end = time.time_ns()
    return {
        "traceId": trace_id,
        "spanId": os.urandom(8).hex(),
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(end - int(duration * 1e9)),
        "endTimeUnixNano": str(end),
        "status": {"code": 2} if error else {},
        "attributes": attributes(**more),
    }


def traces(service: str, *spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": list(spans)}]}]}


def numbered(signal: str, service: str, number: int) -> dict[str, Any]:
    """An export request with one numbered item: a span in a trace of its own, a point of a counter, a record."""
    now = str(time.time_ns())
    if signal == "traces":
        return traces(service, span(f"{number:032x}", "numbered", number=number))
    if signal == "metrics":
        # A series for each number: what is missing shows up, whatever comes later.
        point = {"asInt": "1", "timeUnixNano": now, "attributes": attributes(number=str(number))}
        metric = {"name": "numbered", "gauge": {"dataPoints": [point]}}
        return {"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [{"metrics": [metric]}]}]}
    record = {"timeUnixNano": now, "severityNumber": 9, "body": {"stringValue": str(number)}}
    return {"resourceLogs": [{"resource": resource(service), "scopeLogs": [{"logRecords": [record]}]}]}


def send(client: httpx.Client, url: str, signal: str, request: dict[str, Any]) -> None:
    """Send an export request; anything but acceptance raises.

    Raises:
        httpx.HTTPError: It did not arrive, or was refused.
    """
    client.post(f"{url}/v1/{signal}", json=request).raise_for_status()
