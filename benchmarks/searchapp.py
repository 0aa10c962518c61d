"""The application that the benchmarks measure: no line of telemetry in it.

Its routes use `AsyncElasticsearch`, whose node answers from memory, so that what is measured is the
client's and the telemetry's work and not a server's. `BENCH_LOGGING=off` leaves out its log lines.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import sys
from typing import Annotated

import structlog
from elastic_transport import BaseAsyncNode, HttpHeaders, NodeConfig
from elastic_transport._models import ApiResponseMeta
from elastic_transport._node._base import NodeApiResponse
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from fastapi import Body, FastAPI

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


@functools.lru_cache
def bulk_answer(items: int) -> bytes:
    """What Elasticsearch says to a bulk request of so many items that all went well."""
    item = {"index": {"_index": "products", "_id": "1", "_version": 1, "result": "created", "status": 201}}
    return json.dumps({"took": 7, "errors": False, "items": [item] * items}).encode()


class CannedNode(BaseAsyncNode):
    """A node that answers searches and bulk requests from memory, at once or after `seconds`."""

    _CLIENT_META_HTTP_CLIENT = ("ai", "0")
    seconds: float | None = None

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)

    async def perform_request(self, method, target, body=None, headers=None, request_timeout=None) -> NodeApiResponse:
        if self.seconds is not None:
            await asyncio.sleep(self.seconds)
        headers = HttpHeaders({"content-type": "application/json", "x-elastic-product": "Elasticsearch"})
        meta = ApiResponseMeta(status=200, http_version="1.1", headers=headers, duration=0.0, node=self.config)
        return NodeApiResponse(meta, bulk_answer(body.count(b"\n") // 2) if target.endswith("_bulk") else ANSWER)

    async def close(self) -> None:
        pass


LEVEL = logging.WARNING if os.environ.get("BENCH_LOGGING") == "off" else logging.INFO
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.make_filtering_bound_logger(LEVEL),
    cache_logger_on_first_use=True,
)
logging.basicConfig(format="%(message)s", stream=sys.stdout, level=LEVEL)
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


@app.get("/products/categories")
async def categories() -> dict[str, object]:
    """What needs no Elasticsearch."""
    log.info("categories listed", number=3)
    return {"categories": ["lamps", "desks", "chairs"]}


@app.post("/products/bulk")
async def import_products(documents: Annotated[list[dict[str, object]], Body()]) -> dict[str, int]:
    """What an import does: one bulk request by the client's helper."""
    actions = ({"_index": "products", "_id": n, "_source": document} for n, document in enumerate(documents))
    succeeded, _ = await async_bulk(client, actions, stats_only=True)
    log.info("products imported", items=succeeded)
    return {"imported": succeeded}
