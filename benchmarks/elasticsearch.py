"""What telemetry costs an Elasticsearch call: the bare client, its native spans alone, and all of ours.

Each variant is a process of its own with one client, whose node answers from memory; spans (and with
us metrics) go to a local OTLP receiver. Figures are CPU microseconds a call beyond the bare client,
of all threads with exporters and final flush included, medians over interleaved rounds.

    python -m benchmarks.elasticsearch [--rounds 5] [--calls 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Run as a file, this directory comes first, and this file would be found as the client's package.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]

VARIANTS: dict[str, dict[str, str]] = {
    "bare": {"OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED": "false"},
    "native": {},
    "otel-search": {"OTEL_PYTHON_DISTRO": "otel_search"},
    "otel-search, not sampled": {"OTEL_PYTHON_DISTRO": "otel_search", "OTEL_TRACES_SAMPLER": "always_off"},
    "otel-search, SDK's own way": {"OTEL_PYTHON_DISTRO": "otel_search", "OTEL_SEARCH_HOT_PATH": "upstream"},
}
CASES = ("sync, small body", "sync, 100 KiB body", "async, small body", "async, 100 KiB body")

ANSWER = json.dumps(
    {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": 42, "relation": "eq"},
            "max_score": 1.7,
            "hits": [
                {"_index": "products", "_id": str(n), "_score": 1.7, "_source": {"name": f"lamp {n}", "price": 9.5 + n}}
                for n in range(10)
            ],
        },
    }
).encode()

SMALL = {
    "query": {
        "bool": {
            "must": [{"match": {"name": "desk lamp"}}],
            "filter": [{"terms": {"brand": ["a", "b"]}}, {"range": {"price": {"gte": 1, "lte": 50}}}],
        }
    },
    "aggs": {"brands": {"terms": {"field": "brand", "size": 10}}},
    "size": 10,
}
LARGE = {
    "query": {
        "bool": {
            "must": [{"match": {"name": "desk lamp"}}],
            "filter": [{"terms": {"id": [f"product-{number:06}" for number in range(4000)]}}],
        }
    },
    "knn": {"field": "vector", "query_vector": [number / 1536 for number in range(1536)], "k": 10},
    "size": 10,
}


def measure(calls: int) -> dict[str, float]:
    """CPU microseconds a call of this process, for each case."""
    from elastic_transport import ApiResponseMeta, BaseAsyncNode, BaseNode, HttpHeaders
    from elastic_transport._node._base import NodeApiResponse
    from elasticsearch import AsyncElasticsearch, Elasticsearch
    from opentelemetry import trace

    headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})

    def answer(node):
        meta = ApiResponseMeta(status=200, http_version="1.1", headers=headers, duration=0.0, node=node.config)
        return NodeApiResponse(meta, ANSWER)

    class Node(BaseNode):
        def perform_request(self, method, target, body=None, headers=None, request_timeout=None):
            return answer(self)

        def close(self):
            pass

    class AsyncNode(BaseAsyncNode):
        _CLIENT_META_HTTP_CLIENT = ("ai", "0")

        async def perform_request(self, method, target, body=None, headers=None, request_timeout=None):
            return answer(self)

        async def close(self):
            pass

    def flush():
        provider = trace.get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush()

    def timed(run):
        run(calls // 5)
        flush()
        started = time.process_time()
        run(calls)
        flush()
        return (time.process_time() - started) / calls * 1e6

    client = Elasticsearch("http://127.0.0.1:9200", node_class=Node)
    async_client = AsyncElasticsearch("http://127.0.0.1:9200", node_class=AsyncNode)
    runner = asyncio.Runner()

    def sync(body):
        def run(count):
            for _ in range(count):
                client.search(index="products", **body)

        return run

    def asynchronous(body):
        async def run(count):
            for _ in range(count):
                await async_client.search(index="products", **body)

        return lambda count: runner.run(run(count))

    return {
        name: timed(run)
        for name, run in zip(CASES, (sync(SMALL), sync(LARGE), asynchronous(SMALL), asynchronous(LARGE)), strict=True)
    }


def native_spans() -> None:
    """The SDK as its documentation sets it up, for the client's own spans."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def child(variant: str, calls: int) -> None:
    """Measure one variant in this process and print the result."""
    import logging

    if variant == "native":
        native_spans()
    # The transport's line for each call is formatted whether or not somebody reads it: not what is compared.
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    print("RESULT " + json.dumps(measure(calls)), file=sys.stderr)


def run(variant: str, endpoint: str, calls: int) -> dict[str, float]:
    """One round of one variant, in a process of its own."""
    from benchmarks.processes import result_of

    command = [sys.executable, "-m", "benchmarks.elasticsearch", "--child", variant, "--calls", str(calls)]
    if variant.startswith("otel-search"):
        command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), *command]
    return result_of(command, endpoint, VARIANTS[variant])


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000, help="measured calls of each case a round, after a warm-up")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.calls)
        return
    sys.path.insert(0, str(HERE.parent))
    from benchmarks.receiver import Receiver

    receiver = Receiver()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    for number in range(options.rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            results[name].append(run(name, receiver.endpoint, options.calls))
            receiver.bodies.clear()
    report(results, options)


def report(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print what each variant costs over the bare client, and the ratios to the native spans."""

    def median(name: str, case: str) -> float:
        return statistics.median(row[case] for row in results[name])

    print(
        f"\n{options.rounds} interleaved rounds of {options.calls} calls; CPU µs a call over the bare client (and times native)\n"
    )
    print("| variant | " + " | ".join(CASES) + " |")
    print("| --- |" + " --- |" * len(CASES))
    print("| bare: the call itself | " + " | ".join(f"{median('bare', case):.0f}" for case in CASES) + " |")
    for name in results:
        if name == "bare":
            continue
        cells = []
        for case in CASES:
            cost = median(name, case) - median("bare", case)
            native = median("native", case) - median("bare", case)
            cells.append(f"{cost:.0f} ({cost / native:.2f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
