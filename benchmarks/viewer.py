"""What the viewer can take and how fast its pages are.

    python benchmarks/viewer.py [--spans 100000 1000000] [--rate 5000]

One process sends traces of a search service over OTLP/HTTP, as fast as `--rate` spans a second or
as the viewer lets it: when it is answered 429 it waits as told and sends again. The viewer runs in
a process of its own. At each of the numbers of spans, every page is asked some times.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PROTOBUF = {"content-type": "application/x-protobuf"}
SPANS_OF_A_BATCH = 510
DIFFERENT_BATCHES = 60
"""Made before anything is sent; each time that one is sent again, its trace ids are new."""

MARK = b"trace-id"
WORDS = [
    "running",
    "shoes",
    "headphones",
    "oak",
    "espresso",
    "backpack",
    "tent",
    "recycled",
    "black",
    "navy",
    "lamp",
    "desk",
    "kettle",
    "tripod",
]
ROUTES = ("/products/search", "/products/suggest", "/products/{product_id}", "/products/bulk", "/products/report")
QUERY = '{"query":{"bool":{"must":[{"multi_match":{"query":"?","fields":["name^3","brand.words^2","%s"]}}]}}}'


def pairs(attributes: dict[str, object]) -> list[KeyValue]:
    def value(item: object) -> AnyValue:
        if isinstance(item, bool):
            return AnyValue(bool_value=item)
        if isinstance(item, int):
            return AnyValue(int_value=item)
        return AnyValue(double_value=item) if isinstance(item, float) else AnyValue(string_value=str(item))

    return [KeyValue(key=name, value=value(item)) for name, item in attributes.items()]


def batches(count: int, seed: int) -> Iterator[tuple[ExportTraceServiceRequest, ExportLogsServiceRequest]]:
    """Traces of three spans and two log lines: a request, an operation, an Elasticsearch call."""
    chance = random.Random(seed)
    sent = 0
    while sent < count:
        traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
        resource = traces.resource_spans.add()
        resource.resource.attributes.extend(
            pairs({"service.name": f"shop-{chance.randrange(3)}", "service.instance.id": "a", "host.name": "laptop"})
        )
        scope = resource.scope_spans.add()
        group = logs.resource_logs.add()
        group.resource.CopyFrom(resource.resource)
        records = group.scope_logs.add()
        records.scope.name = "shop.search"
        for _ in range(SPANS_OF_A_BATCH // 3):
            trace(chance, scope.spans, records.log_records)
        sent += SPANS_OF_A_BATCH
        yield traces, logs


def trace(chance: random.Random, spans: object, records: object) -> None:
    trace_id, ids = MARK + chance.randbytes(8), [chance.randbytes(8) for _ in range(3)]
    now = time.time_ns()
    took = int(chance.lognormvariate(16.5, 0.8))
    failed = chance.random() < 0.01
    route = chance.choice(ROUTES)
    text = f"{chance.choice(WORDS)} {chance.choice(WORDS)}"
    hits = 0 if chance.random() < 0.05 else chance.randrange(1, 2000)
    attributes = (
        {
            "http.request.method": "GET", "url.scheme": "http", "url.path": route, "url.query": f"q={text}",
            "http.route": route, "http.response.status_code": 500 if failed else 200, "client.address": "127.0.0.1",
            "user_agent.original": "python-httpx/0.28", "server.address": "127.0.0.1", "server.port": 8000,
            "search.request.id": trace_id.hex(),
        },
        {"search.operation.name": "product_search", "search.operation.outcome": "ok"},
        {
            "db.system.name": "elasticsearch", "db.operation.name": "search", "db.collection.name": "products",
            "server.address": "127.0.0.1", "server.port": 9200, "http.request.method": "POST",
            "search.took": took / 2e9, "search.hits.total": hits, "search.hits.relation": "eq",
            "search.shards.total": 1, "db.response.status_code": "200", "db.response.returned_rows": min(hits, 10),
            "search.outcome": "error" if failed else "hits" if hits else "empty", "search.query.type": "multi_match",
            "search.query.hash": f"{hash(route) & 0xFFFFFFFF:016x}", "db.query.text": QUERY % route,
            "url.full": "http://127.0.0.1:9200/products/_search",
        },
    )  # fmt: skip
    names = (f"GET {route}", "product_search", "search products")
    kinds = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT)
    for position in range(3):
        spans.add(
            trace_id=trace_id,
            span_id=ids[position],
            parent_span_id=ids[position - 1] if position else b"",
            name=names[position],
            kind=kinds[position],
            start_time_unix_nano=now - took + position * 1_000_000,
            end_time_unix_nano=now - position * 1_000_000,
            attributes=pairs(attributes[position]),
            status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
        )
    for body in ("products found", "request completed"):
        records.add(
            time_unix_nano=now,
            trace_id=trace_id,
            span_id=ids[0],
            severity_number=17 if failed else 9,
            severity_text="ERROR" if failed else "INFO",
            body=AnyValue(string_value=body),
            attributes=pairs({"request_id": trace_id.hex(), "total": hits, "http.route": route}),
        )


PAGES = (
    "/", "/?window=24h", "/traces", "/traces?q=espresso", "/traces?status=5xx", "/traces?min=100", "/traces?outcome=empty",
    "/traces?sort=slowest", "/searches", "/searches?window=24h", "/logs", "/logs?q=found&level=error", "/logs?service=shop-1",
    "/metrics", "/health", "/map", "/map?window=24h",
)  # fmt: skip
ASKED = 7


def send(client: httpx.Client, endpoint: str, count: int, rate: int, seed: int) -> tuple[float, int]:
    """Send spans and their log lines; the seconds that it took, and how often the viewer was busy."""
    busy = 0
    kept = [
        (traces.SerializeToString(), logs.SerializeToString())
        for traces, logs in batches(min(count, DIFFERENT_BATCHES * SPANS_OF_A_BATCH), seed)
    ]
    began = time.perf_counter()
    sent = 0
    while sent < count:
        traces, logs = kept[sent // SPANS_OF_A_BATCH % len(kept)]
        fresh = secrets.token_bytes(len(MARK))
        for path, body in (("traces", traces.replace(MARK, fresh)), ("logs", logs.replace(MARK, fresh))):
            while True:
                response = client.post(f"{endpoint}/v1/{path}", content=body, headers=PROTOBUF)
                if response.status_code != 429:
                    response.raise_for_status()
                    break
                busy += 1
                time.sleep(float(response.headers["retry-after"]))
        sent += SPANS_OF_A_BATCH
        time.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    return time.perf_counter() - began, busy


def ask(client: httpx.Client, url: str) -> dict[str, float]:
    """The median of some answers of each page, in milliseconds."""
    trace = re.search(r'href="(/traces/[0-9a-f]{32})"', client.get(f"{url}/traces").text)
    shape = re.search(r'href="(/searches/[^"?]+)', client.get(f"{url}/searches?window=24h").text)
    pages = [*PAGES, *(found[1] for found in (trace, shape) if found)]
    answers = {}
    for page in pages:
        times = []
        for _ in range(ASKED):
            began = time.perf_counter()
            client.get(url + page).raise_for_status()
            times.append((time.perf_counter() - began) * 1e3)
        name = re.sub(r"[0-9a-f]{16,32}", "…", page)
        answers[name] = statistics.median(times)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the viewer.")
    parser.add_argument("--spans", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rate", type=int, default=5000, help="spans a second that are sent")
    parser.add_argument("--max-size", default="4GB", help="of the viewer's file")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "telemetry.db"
        command = [Path(sys.executable).with_name("otel-search"), "viewer", "--port", "0", "--otlp-port", "0"]
        command += ["--grpc-port", "off", "--db", str(database), "--max-size", parsed.max_size]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
            assert viewer.stdout is not None
            url = viewer.stdout.readline().split()[1]
            endpoint = viewer.stdout.readline().split()[1]
            try:
                measure(url, endpoint, parsed.spans, parsed.rate, database)
            finally:
                viewer.terminate()


def measure(url: str, endpoint: str, numbers: list[int], rate: int, database: Path) -> None:
    with httpx.Client(timeout=60, trust_env=False) as client:
        stored = 0
        for number in numbers:
            seconds, busy = send(client, endpoint, number - stored, rate, seed=number)
            print(f"\n{number - stored} spans and their log lines in {seconds:.0f} s: "
                  f"{(number - stored) / seconds:.0f} spans/s, busy {busy} times")  # fmt: skip
            stored = number
            time.sleep(3)  # the last of them are being written
            log = database.with_name(f"{database.name}-wal")
            print(f"{number} spans sent, file {database.stat().st_size / 1024**2:.0f} MiB, "
                  f"SQLite's log beside it {log.stat().st_size / 1024**2:.0f} MiB")  # fmt: skip
            for page, milliseconds in ask(client, url).items():
                print(f"  {page:32} {milliseconds:7.1f} ms")


if __name__ == "__main__":
    main()
