"""The application that the benchmarks measure, and its driver: no line of telemetry in it.

A search route over `AsyncElasticsearch`, whose node answers from memory, so that what is measured
is the client's and the telemetry's work and not a server's. One request follows the other.

Usage: searchapp.py REQUESTS
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time

import structlog
from elastic_transport import BaseAsyncNode, HttpHeaders, NodeConfig
from elastic_transport._models import ApiResponseMeta
from elastic_transport._node._base import NodeApiResponse
from elasticsearch import AsyncElasticsearch
from fastapi import FastAPI

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
        "aggregations": {"brands": {"buckets": [{"key": f"brand {n}", "doc_count": n} for n in range(10)]}},
    }
).encode()


class CannedNode(BaseAsyncNode):
    """A node that answers every request at once with the same search result."""

    _CLIENT_META_HTTP_CLIENT = ("ai", "0")

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)

    async def perform_request(self, method, target, body=None, headers=None, request_timeout=None) -> NodeApiResponse:
        headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
        meta = ApiResponseMeta(status=200, http_version="1.1", headers=headers, duration=0.0, node=self.config)
        return NodeApiResponse(meta, ANSWER)

    async def close(self) -> None:
        pass


structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
logging.getLogger("elastic_transport").setLevel(logging.WARNING)
log = structlog.get_logger("shop.search")

client = AsyncElasticsearch("http://127.0.0.1:9200", node_class=CannedNode)
app = FastAPI()


@app.get("/products/search")
async def search(q: str, brand: str = "any") -> dict[str, object]:
    """What a product search does: a query with a filter, an aggregation, one log line."""
    found = await client.search(
        index="products",
        query={"bool": {"must": [{"match": {"name": q}}], "filter": [{"term": {"brand": brand}}]}},
        aggs={"brands": {"terms": {"field": "brand", "size": 10}}},
        size=10,
    )
    total = found["hits"]["total"]["value"]
    log.info("products searched", query_length=len(q), hits=total)
    return {"total": total, "items": [hit["_source"] for hit in found["hits"]["hits"]]}


SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/products/search",
    "raw_path": b"/products/search",
    "query_string": b"q=lamp&brand=acme",
    "root_path": "",
    "headers": [
        (b"host", b"shop.example:8000"),
        (b"user-agent", b"bench/1"),
        (b"accept", b"*/*"),
    ],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
    "state": {},
}


async def request() -> None:
    """One request through ASGI, as a server makes it."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise SystemExit(f"status {message['status']}")

    await app(dict(SCOPE, headers=list(SCOPE["headers"]), state={}), receive, send)


async def load(count: int) -> list[float]:
    """`count` requests, one after the other; the seconds that each took."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await asyncio.create_task(request())
        times.append(time.perf_counter() - started)
    return times


def flush() -> None:
    """What a server's end would send, while it is still counted."""
    from opentelemetry import _logs, metrics, trace

    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
        if hasattr(provider, "force_flush"):
            provider.force_flush()


async def main() -> None:
    count = int(sys.argv[1])
    await load(count // 5)
    flush()
    cpu = time.process_time()
    times = await load(count)
    flush()
    cpu = time.process_time() - cpu
    times.sort()
    result = {
        "cpu": cpu / count * 1e6,
        "p50": times[len(times) // 2] * 1e3,
        "p99": times[int(len(times) * 0.99)] * 1e3,
    }
    print("RESULT " + json.dumps(result), file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
