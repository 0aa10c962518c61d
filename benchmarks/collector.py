"""What telemetry weighs and costs on its way from a service through agent, Kafka and gateway into storage: the figures of docs/scale.md.

Spans, records and points are those of the demo service under its load, many times over with new ids. They go the way of
the fleet: an agent with redaction, span metrics and search metrics, Kafka, a gateway with tail sampling that keeps a tenth of what is
not interesting, Jaeger stored in OpenSearch. Processor time is that of each program, so that another program on the machine disturbs little.

    make backends
    .venv/bin/python -m benchmarks.collector
    .venv/bin/python -m benchmarks.collector --traces 20000
    .venv/bin/python -m benchmarks.collector --redaction
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
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
    spans = _spans(payloads)
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


def redaction(home: Path, requests: list[Any]) -> dict[str, float]:
    """What it costs to take a span in a Collector without destinations, and what redaction adds for a service that does not redact."""
    payloads = multiplied(requests, 2000)
    spans = _spans(payloads)
    found = {}
    for name, redacted_by, sent in (
        ("taken", "otel-search", payloads),
        ("looked at, without a secret", "none", payloads),
        ("redacted, as it has a secret", "none", [_with_secrets(payload) for payload in payloads]),
    ):
        with Collector(home / name.replace(" ", "-"), (), {"COLLECTOR_REDACTED_BY": redacted_by}) as collector:
            began = processor_time(collector.pid)
            with httpx.Client(timeout=120) as client:
                for payload in sent:
                    headers = {"content-type": "application/x-protobuf"}
                    client.post(f"{collector.http_url}/v1/traces", content=payload, headers=headers).raise_for_status()
            found[f"processor microseconds a span that is {name}"] = (
                (processor_time(collector.pid) - began) / spans * 1e6
            )
    return found


def _with_secrets(payload: bytes) -> bytes:
    message = ExportTraceServiceRequest.FromString(payload)
    for scope in message.resource_spans[0].scope_spans:
        for span in scope.spans:
            attribute = span.attributes.add()
            attribute.key, attribute.value.string_value = "note", "called with token=r3fr3sh"
    return message.SerializeToString()


def _spans(payloads: list[bytes]) -> int:
    messages = map(ExportTraceServiceRequest.FromString, payloads)
    return sum(len(scope.spans) for each in messages for scope in each.resource_spans[0].scope_spans)


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


def held_series(prometheus: Prometheus, requests: list[Any], instances: int) -> dict[str, float]:
    """What a series weighs in Prometheus' memory: the metrics of one instance, again with the ids of many."""
    head = 'prometheus_tsdb_head_series{job="prometheus"}'
    eventually(lambda: prometheus.query(head))
    before, memory = prometheus.query(head)[0].value, psutil.Process(prometheus.pid).memory_info().rss
    message = next(each for each in reversed(requests) if isinstance(each, ExportMetricsServiceRequest))
    (instance,) = [
        pair for pair in message.resource_metrics[0].resource.attributes if pair.key == "service.instance.id"
    ]
    with httpx.Client(timeout=60) as client:
        for number in range(instances):
            instance.value.string_value = f"instance-{number}"
            client.post(
                f"{prometheus.url}/api/v1/otlp/v1/metrics",
                content=message.SerializeToString(),
                headers={"content-type": "application/x-protobuf"},
            ).raise_for_status()
    eventually(lambda: prometheus.query(head)[0].value >= before + instances * 100)
    time.sleep(3)  # the last scrape of its own figure
    series = prometheus.query(head)[0].value - before
    grown = psutil.Process(prometheus.pid).memory_info().rss - memory
    return {"Prometheus: resident bytes a series": grown / series}


def _one(requests: list[Any], signal: str) -> bytes:
    kind = {"metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}[signal]
    return next(each for each in requests if isinstance(each, kind)).SerializeToString()


def arithmetic(figures: dict[str, float]) -> str:
    """What a fleet needs by these figures, as a table: 20 requests a second for each instance, 2 % of the traces interesting."""
    columns = (
        ("1", 1, 0.1, 30),
        ("10", 10, 0.1, 30),
        ("100", 100, 0.1, 30),
        ("1,000", 1_000, 0.1, 10),
        ("10,000", 10_000, 0.01, 10),
    )
    rows: dict[str, list[str]] = {}

    def row(name: str, value: str) -> None:
        rows.setdefault(name, []).append(value)

    for _, instances, share, wait in columns:
        requests = 20 * instances
        spans, records = requests * figures["spans a request"], requests * figures["log records a request"]
        kept = spans * (0.02 + share)
        row("TAIL_SAMPLING_PERCENT, TAIL_SAMPLING_WAIT", f"{share * 100:.0f}, {wait} s")
        row("spans a second", f"{spans:,.0f}")
        row("log records a second", f"{records:,.0f}")
        row(
            "OTLP from services, MB/s",
            f"{(spans * figures['bytes a span (OTLP, uncompressed)'] + records * figures['bytes a log record (OTLP, uncompressed)']) / 1e6:,.2f}",
        )
        row("spans into Kafka, MB/s", f"{spans * figures['bytes a span in Kafka (zstd)'] / 1e6:,.2f}")
        row("agents, cores in all", f"{spans * figures['agent: processor microseconds a span'] / 1e6:,.2f}")
        cores = spans * figures["gateway: processor microseconds a span"] / 1e6 / 0.7
        row("gateways, cores in all", f"{cores:,.2f}")
        gateways, few = max(2, math.ceil(cores)), instances < 1000
        row("gateways of one core", "-" if few else f"{gateways}")
        row("partitions of otlp_spans", "-" if few else f"{gateways * 2}")
        row("TAIL_SAMPLING_TRACES, at least", f"{2 * requests * wait / (1 if few else gateways):,.0f}")
        memory = spans * wait * figures["gateway: resident bytes a waiting span"] / 1e9
        row("waiting spans, GB at each gateway", f"{memory / (1 if few else gateways):,.2f}")
        row("spans kept a second", f"{kept:,.0f}")
        traces = 86_400 * kept * figures["bytes a span in OpenSearch (merged, no replica)"] / 1e9
        logs = 86_400 * records * figures["bytes a log record in OpenSearch (merged, no replica)"] / 1e9
        row("spans into Elasticsearch, GB a day", f"{traces:,.1f}")
        row("log records into Elasticsearch, GB a day", f"{logs:,.1f}")
        row(
            "primary shards a day, spans + log records",
            f"{math.ceil(traces / 50)} + {math.ceil(logs / 50)}",
        )
        series = instances * (
            figures["series of an instance"] + figures["series that the Collector makes of its spans"]
        )
        row("series in Prometheus", f"{series:,.0f}")
        row("samples a second", f"{series / 60:,.0f}")
        row("Prometheus' memory for them, GB", f"{series * figures['Prometheus: resident bytes a series'] / 1e9:,.2f}")
    head = ["instances", *(name for name, *_ in columns)]
    lines = [head, ["---"] * len(head), *([name, *values] for name, values in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(figures: dict[str, float]) -> None:
    """Print figures as a table."""
    print("\n| figure | measured |\n| --- | --- |")
    for name, value in figures.items():
        print(f"| {name} | {value:,.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=40_000)
    parser.add_argument("--wait", type=int, default=20, help="TAIL_SAMPLING_WAIT in seconds")
    parser.add_argument("--redaction", action="store_true", help="measure the Collector's redaction alone, in a minute")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otel-search-scale-") as directory:
        home = Path(directory)
        with Prometheus(home / "prometheus") as prometheus:
            (home / "demo").mkdir()
            requests, figures = material(home / "demo", prometheus)
            if not parsed.redaction:
                figures |= held_series(prometheus, requests, 300)
        kinds = Counter(type(each).__name__ for each in requests)
        print(f"{sum(kinds.values())} export requests of the demo: {dict(kinds)}")
        if parsed.redaction:
            show(redaction(home / "redaction", requests))
            return
        figures |= measure(home, requests, parsed.traces, parsed.wait)
        figures |= redaction(home / "redaction", requests)
        (home / "logs").mkdir()
        figures |= stored_records(home / "logs", parsed.traces // 20)
        show(figures)
        print(f"\n{arithmetic(figures)}")


if __name__ == "__main__":
    main()
