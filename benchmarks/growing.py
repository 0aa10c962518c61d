"""What a request can grow by, and the measuring of one size of it in this process.

    python -m benchmarks.growing DIMENSION SIZE SECONDS

Each dimension makes the application ready for a size and says what one step is: an awaitable that makes
some requests. Steps are repeated for some seconds, so that a run is bounded however large a request is.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.driver import Application, flush_providers, lifespan, quantile, request
from benchmarks.loads import LOADS, Load

Step = Callable[[], Awaitable[int]]
"""Makes requests; their number."""

ASKED = 50
"""Of many routes, so many are asked for in turn."""


def _asking(app: Application, loads: Iterator[Load]) -> Step:
    async def step() -> int:
        await asyncio.create_task(request(app, next(loads)))
        return 1

    return step


def _always(path: str) -> Iterator[Load]:
    return itertools.repeat(Load(path, "GET", path))


def routes(size: int) -> tuple[Application, Step]:
    """Routes of the application; those asked for are spread evenly over all."""
    from fastapi import FastAPI

    app = FastAPI()

    async def answer() -> dict[str, int]:
        return {"number": 1}

    paths = [f"/shelf-{number}" for number in range(size)]
    for path in paths:
        app.get(path)(answer)
    asked = [Load(path, "GET", path) for path in paths[:: max(1, size // ASKED)]]
    return app, _asking(app, itertools.cycle(asked))


def collections(size: int) -> tuple[Application, Step]:
    """Collections that are searched, one after the other; their names differ by letters, so that no family holds them."""
    from benchmarks.searchapp import app, client

    letters = str.maketrans("0123456789", "abcdefghij")
    indices = itertools.cycle([f"products-{str(number).translate(letters)}" for number in range(size)])

    @app.get("/collections")
    async def one() -> dict[str, int]:
        found = await client.search(index=next(indices), query={"match": {"name": "lamp"}})
        return {"total": found["hits"]["total"]["value"]}

    return app, _asking(app, _always("/collections"))


def attributes(size: int) -> tuple[Application, Step]:
    """Attributes that the application sets on the server span."""
    from opentelemetry import trace

    from benchmarks.searchapp import app

    given = {f"shop.attribute_{number}": f"value {number}" for number in range(size)}

    @app.get("/attributes")
    async def one() -> dict[str, int]:
        trace.get_current_span().set_attributes(given)
        return {"number": size}

    return app, _asking(app, _always("/attributes"))


def concurrency(size: int) -> tuple[Application, Step]:
    """Searches under way at the same time."""
    from benchmarks.searchapp import CannedNode, app

    CannedNode.seconds = 0.0  # gives way to the others

    async def step() -> int:
        await asyncio.gather(*(request(app, LOADS["search"]) for _ in range(size)))
        return size

    return app, step


def query_size(size: int) -> tuple[Application, Step]:
    """Bytes of a search's query: a long list of terms."""
    from benchmarks.searchapp import app, client

    terms = [f"product-{number:06}" for number in range(size // len('"product-000000", '))]
    query = {"bool": {"must": [{"match": {"name": "lamp"}}], "filter": [{"terms": {"id": terms}}]}}

    @app.get("/query")
    async def one() -> dict[str, int]:
        found = await client.search(index="products", query=query)
        return {"total": found["hits"]["total"]["value"]}

    return app, _asking(app, _always("/query"))


def bulk_items(size: int) -> tuple[Application, Step]:
    """Items of a bulk request."""
    from benchmarks.searchapp import app, client

    document = {"name": "lamp", "price": 9.5, "brand": "acme"}
    operations = [line for _ in range(size) for line in ({"index": {"_index": "products"}}, document)]

    @app.get("/items")
    async def one() -> dict[str, int]:
        return {"items": len((await client.bulk(operations=operations))["items"])}

    return app, _asking(app, _always("/items"))


def label_sets(size: int) -> tuple[Application, Step]:
    """Sets of attributes of the application's own histogram, ten measurements a request."""
    from opentelemetry import metrics

    from benchmarks.searchapp import app

    histogram = metrics.get_meter("shop").create_histogram("shop.basket", unit="1")
    customers = itertools.cycle(range(size))

    @app.get("/labels")
    async def one() -> dict[str, int]:
        for _ in range(10):
            histogram.record(1.5, {"shop.customer": next(customers)})
        return {"number": 10}

    return app, _asking(app, _always("/labels"))


def collector(_: str) -> tuple[Application, Step]:
    """What the Collector does."""
    from benchmarks.searchapp import app

    return app, _asking(app, itertools.repeat(LOADS["search"]))


@dataclass(frozen=True)
class Dimension:
    """Something that a request can grow by.

    Attributes:
        title: What the reader of a table sees.
        sizes: What is measured.
        prepare: Makes the application and a step; `None` where it takes a server.
    """

    title: str
    sizes: tuple[int, ...] | tuple[str, ...]
    prepare: Callable[[Any], tuple[Application, Step]] | None


DIMENSIONS = {
    "routes": Dimension("routes", (10, 100, 1000, 10_000), routes),
    "collections": Dimension("collections", (1, 10, 100, 1000), collections),
    "attributes": Dimension("attributes that the application sets", (1, 10, 50, 100), attributes),
    "concurrency": Dimension("requests at the same time", (1, 10, 100, 1000), concurrency),
    "workers": Dimension("workers", (1, 2, 4), None),
    "query": Dimension("bytes of a query", (1000, 10_000, 100_000, 1_000_000), query_size),
    "bulk": Dimension("items of a bulk request", (10, 100, 1000, 10_000), bulk_items),
    "labels": Dimension("label sets, the limit being 2,000", (10, 100, 1000, 2000, 4000), label_sets),
    "collector": Dimension("the Collector", ("answers", "slow", "refuses", "down"), collector),
}


async def measure(dimension: Dimension, size: Any, seconds: float) -> dict[str, float]:
    """CPU microseconds a request, and quantiles of a step's duration in ms."""
    assert dimension.prepare is not None
    app, step = dimension.prepare(size)
    # Nobody waits for a Collector that does not answer: its exports go on by themselves.
    flush = (lambda: None) if dimension.prepare is collector else flush_providers
    async with lifespan(app):
        await _repeat(step, seconds / 4)
        flush()
        cpu = time.process_time()
        count, times = await _repeat(step, seconds)
        flush()
        cpu = time.process_time() - cpu
        result = {"cpu": cpu / count * 1e6, "p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}
        print("RESULT " + json.dumps(result), file=sys.stderr, flush=True)
        os._exit(0)  # how it ends is not measured here


async def _repeat(step: Step, seconds: float) -> tuple[int, list[float]]:
    count, times = 0, []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or not times:
        count += await step()
        times.append(time.perf_counter() - now)
    return count, sorted(times)


if __name__ == "__main__":
    name, wanted, limit = sys.argv[1:]
    asyncio.run(measure(DIMENSIONS[name], int(wanted) if wanted.isdigit() else wanted, float(limit)))
