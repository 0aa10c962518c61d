"""What telemetry weighs and costs on its way from a service through agent, Kafka and gateway into storage: the figures of docs/scale.md.

Spans, records and points are those of the demo service under its load, many times over with new ids. They go the way of
the fleet: an agent with redaction, span metrics and search metrics, Kafka, a gateway with tail sampling that keeps a tenth of what is
not interesting, Jaeger stored in OpenSearch. Processor time is that of each program, so that another program on the machine disturbs little.

    make backends
    .venv/bin/python -m benchmarks.collector
    .venv/bin/python -m benchmarks.collector --traces 20000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_search.demo import engine, load
from otel_search.demo.run import fill
from otel_search.processes import Processes
from otel_search.viewer.recording import Recording
from tests.backends.collector import Collector
from tests.backends.jaeger import Jaeger
from tests.backends.kafka import Kafka
from tests.backends.opensearch import OpenSearch
from tests.backends.prometheus import Prometheus
from tests.collector.log_store import LogStore
from tests.service import eventually, serve

BATCH = 512
"""Spans in one export request: what an SDK sends at a time."""


class Kept(Recording):
    """A recording that keeps the export requests, too."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def add(self, request: Any) -> None:
        self.requests.append(request)
        super().add(request)


def material(home: Path, prometheus: Prometheus) -> tuple[list[Any], dict[str, float]]:
    """The demo's export requests, and what one request and one instance make of telemetry."""
    recording = Kept()
    with Processes(home) as processes, contextlib.ExitStack() as stack:
        url = engine.start_engine(processes, os.environ)
        asyncio.run(fill(url))
        pushing = stack.enter_context(
            Collector(
                home / "pushing",
                ("exporters/prometheus", "span_metrics", "search_metrics"),
                {"PROMETHEUS_URL": prometheus.url},
            )
        )
        variables = {
            "ELASTICSEARCH_URL": url,
            "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
            "OTEL_SERVICE_NAME": "product-search",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "",
        }
        with serve("otel_search.demo.app:app", env=variables, recording=recording) as shop:
            outcomes = load.send(shop.url)
            shop.stop()
        metrics = [each for each in recording.requests if isinstance(each, ExportMetricsServiceRequest)]
        with httpx.Client() as client:
            client.post(
                f"{pushing.http_url}/v1/metrics",
                content=metrics[-1].SerializeToString(),
                headers={"content-type": "application/x-protobuf"},
            )
            for request in recording.requests:
                if isinstance(request, ExportTraceServiceRequest):
                    client.post(
                        f"{pushing.http_url}/v1/traces",
                        content=request.SerializeToString(),
                        headers={"content-type": "application/x-protobuf"},
                    )
        eventually(lambda: prometheus.query('count({job="product-search", __name__=~"traces_.*"})'))
        ((of_spans,),) = [
            [each.value for each in prometheus.query('count({job="product-search", __name__=~"traces_.*"})')]
        ]
        ((series,),) = [
            [each.value for each in prometheus.query('count({job="product-search", __name__!~"traces_.*"})')]
        ]
    traces = {outcome.trace_id for outcome in outcomes}
    spans = [span for span in recording.spans if span.trace_id in traces]
    records = [record for record in recording.logs if record.trace_id in traces]
    weigh = {
        kind: [each for each in recording.requests if isinstance(each, kind)]
        for kind in (ExportTraceServiceRequest, ExportLogsServiceRequest)
    }
    return recording.requests, {
        "spans a request": len(spans) / len(outcomes),
        "log records a request": len(records) / len(outcomes),
        "bytes a span (OTLP, uncompressed)": sum(each.ByteSize() for each in weigh[ExportTraceServiceRequest])
        / len(recording.spans),
        "bytes a log record (OTLP, uncompressed)": sum(each.ByteSize() for each in weigh[ExportLogsServiceRequest])
        / len(recording.logs),
        "series of an instance": series,
        "series that the Collector makes of its spans": of_spans,
        "bytes of one export of an instance's metrics": metrics[-1].ByteSize(),
    }


def multiplied(requests: list[Any], traces: int) -> list[bytes]:
    """Export requests with many traces like those of the demo, each with ids of its own, and whole in one request."""
    resource = next(each for each in requests if isinstance(each, ExportTraceServiceRequest)).resource_spans[0]
    by_trace: dict[bytes, list[tuple[str, Span]]] = {}
    for request in requests:
        if isinstance(request, ExportTraceServiceRequest):
            for each in request.resource_spans:
                for scope in each.scope_spans:
                    for span in scope.spans:
                        by_trace.setdefault(span.trace_id, []).append((scope.scope.name, span))
    models = list(by_trace.values())
    made, batch, count = [], ExportTraceServiceRequest(), 0

    def close() -> None:
        nonlocal batch, count
        made.append(batch.SerializeToString())
        batch, count = ExportTraceServiceRequest(), 0

    now = time.time_ns()
    for number in range(traces):
        trace_id, renamed = os.urandom(16), {}
        if not count:
            batch.resource_spans.add().resource.CopyFrom(resource.resource)
        for scope_name, model in models[number % len(models)]:
            scopes = batch.resource_spans[0].scope_spans
            scope = next((each for each in scopes if each.scope.name == scope_name), None) or scopes.add()
            scope.scope.name = scope_name
            span = scope.spans.add()
            span.CopyFrom(model)
            span.trace_id = trace_id
            span.span_id = renamed.setdefault(model.span_id, os.urandom(8))
            if model.parent_span_id:
                span.parent_span_id = renamed.setdefault(model.parent_span_id, os.urandom(8))
            duration = model.end_time_unix_nano - model.start_time_unix_nano
            span.start_time_unix_nano, span.end_time_unix_nano = now - duration, now
            count += 1
        if count >= BATCH:
            close()
    if count:
        close()
    return made


def counted(collector: Collector, metric: str) -> float:
    text = httpx.get(f"http://{collector.address('metrics')}/metrics", timeout=30).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{metric}{{"))


def processor_time(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def asked(url: str, method: str = "GET") -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, method=method), timeout=60) as answer:
        return json.load(answer)


def measure(home: Path, requests: list[Any], traces: int, wait: int) -> dict[str, float]:
    """Send many traces the way of the fleet; what each program spent and stored."""
    payloads = multiplied(requests, traces)
    spans = sum(
        len(scope.spans)
        for each in payloads
        for scope in ExportTraceServiceRequest.FromString(each).resource_spans[0].scope_spans
    )
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(OpenSearch(home / "opensearch"))
        kafka = stack.enter_context(Kafka(home / "kafka"))
        logs = stack.enter_context(LogStore())
        jaeger = stack.enter_context(
            Jaeger(home / "jaeger", "elasticsearch", {"JAEGER_ELASTICSEARCH_URL": storage.url})
        )
        variables = {
            "KAFKA_BROKERS": f"[{kafka.address('broker')}]",
            "KAFKA_AUTO_CREATE_TOPICS": "true",
            "TAIL_SAMPLING_WAIT": f"{wait}s",
            "TAIL_SAMPLING_TRACES": str(traces * 2),
            "JAEGER_OTLP_ENDPOINT": jaeger.address("otlp"),
            "ELASTICSEARCH_URL": logs.url,
            "COLLECTOR_MEMORY_LIMIT_MIB": "4000",
        }
        agent = stack.enter_context(
            Collector(home / "agent", ("span_metrics", "search_metrics", "scale/to-kafka"), variables)
        )
        headers = {"content-type": "application/x-protobuf"}
        with httpx.Client(timeout=60) as client:
            for signal in ("metrics", "logs", "traces"):
                client.post(
                    f"{agent.http_url}/v1/{signal}",
                    content=payloads[0] if signal == "traces" else _one(requests, signal),
                    headers=headers,
                )
            eventually(lambda: all(kafka.stored(topic) for topic in ("otlp_spans", "otlp_metrics", "otlp_logs")))
            layers = ("scale/from-kafka", "scale/tail_sampling", "exporters/jaeger")
            gateway = stack.enter_context(Collector(home / "gateway", layers, variables))
            eventually(lambda: counted(gateway, "otelcol_exporter_sent_spans") > 0, timeout=60 + wait)
            stored = sum(kafka.stored("otlp_spans").values())
            began = {
                name: processor_time(each.pid)
                for name, each in (("agent", agent), ("gateway", gateway), ("jaeger", jaeger))
            }
            memory = psutil.Process(gateway.pid).memory_info().rss
            read = counted(gateway, "otelcol_receiver_accepted_spans")
            sent = counted(gateway, "otelcol_exporter_sent_spans")
            for payload in payloads:
                client.post(f"{agent.http_url}/v1/traces", content=payload, headers=headers).raise_for_status()
        eventually(lambda: counted(gateway, "otelcol_receiver_accepted_spans") - read >= spans, timeout=300)
        waiting = psutil.Process(gateway.pid).memory_info().rss - memory
        bytes_in_kafka = sum(kafka.stored("otlp_spans").values()) - stored

        def settled() -> bool:
            decided = counted(gateway, "otelcol_processor_tail_sampling_global_count_traces_sampled")
            return decided >= traces and counted(gateway, "otelcol_exporter_queue_size") == 0

        eventually(settled, timeout=300)
        kept = counted(gateway, "otelcol_exporter_sent_spans") - sent
        spent = {
            name: processor_time(each.pid) - began[name]
            for name, each in (("agent", agent), ("gateway", gateway), ("jaeger", jaeger))
        }
        eventually(lambda: asked(f"{storage.url}/jaeger-span-*/_count")["count"] >= kept + sent, timeout=120)
        asked(f"{storage.url}/jaeger-span-*/_forcemerge?max_num_segments=1&flush=true", "POST")
        indices = asked(f"{storage.url}/jaeger-span-*/_stats/store,docs")["_all"]["primaries"]
        documents = asked(f"{storage.url}/jaeger-span-*/_count")["count"]
        return {
            "spans sent": spans,
            "spans kept": kept,
            "agent: processor microseconds a span": spent["agent"] / spans * 1e6,
            "gateway: processor microseconds a span": spent["gateway"] / spans * 1e6,
            "Jaeger: processor microseconds a span kept": spent["jaeger"] / kept * 1e6,
            "bytes a span in Kafka (zstd)": bytes_in_kafka / spans,
            "gateway: resident bytes a waiting span": waiting / spans,
            "bytes a span in OpenSearch (merged, no replica)": indices["store"]["size_in_bytes"] / documents,
        }


def stored_records(home: Path, requests: int) -> dict[str, float]:
    """What a log record weighs once it is stored, written by the service's own exporter in Elasticsearch's OTel mapping."""
    with OpenSearch(home / "log-storage") as storage, Processes(home) as processes:
        url = engine.start_engine(processes, os.environ)
        asyncio.run(fill(url))
        variables = {
            "ELASTICSEARCH_URL": url,
            "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
            "OTEL_LOGS_EXPORTER": "elasticsearch",
            "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL": storage.url,
            "OTEL_SEARCH_LOGS_INDEX": "app-logs",
        }
        with serve("otel_search.demo.app:app", env=variables) as shop, httpx.Client(timeout=30) as client:
            for number in range(requests):
                client.get(f"{shop.url}/products/search", params={"q": f"shoes {number % 97}", "page": number % 3 + 1})
            shop.stop()
        asked(f"{storage.url}/app-logs-*/_forcemerge?max_num_segments=1&flush=true", "POST")
        store = asked(f"{storage.url}/app-logs-*/_stats/store,docs")["_all"]["primaries"]
        return {
            "bytes a log record in OpenSearch (merged, no replica)": store["store"]["size_in_bytes"]
            / store["docs"]["count"]
        }


def _one(requests: list[Any], signal: str) -> bytes:
    kind = {"metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}[signal]
    return next(each for each in requests if isinstance(each, kind)).SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=40_000)
    parser.add_argument("--wait", type=int, default=20, help="TAIL_SAMPLING_WAIT in seconds")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otel-search-scale-") as directory:
        home = Path(directory)
        with Prometheus(home / "prometheus") as prometheus:
            (home / "demo").mkdir()
            requests, figures = material(home / "demo", prometheus)
        kinds = Counter(type(each).__name__ for each in requests)
        print(f"{sum(kinds.values())} export requests of the demo: {dict(kinds)}")
        figures |= measure(home, requests, parsed.traces, parsed.wait)
        (home / "logs").mkdir()
        figures |= stored_records(home / "logs", parsed.traces // 20)
        for name, value in figures.items():
            print(f"{name:56} {value:12,.1f}")


if __name__ == "__main__":
    main()
