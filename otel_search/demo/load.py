"""The demo's load: a short mix of requests, each with what it has to show in the telemetry."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

SEARCH = "/products/search"
PRODUCT = "/products/{product_id}"
PER_SECOND = 3.0
"""Requests of the load that goes on while the demo serves."""

LOGGED_KIND = "search without hits"
"""The kind of request whose log lines are in the report: it logs more than its access line."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of the load.

    Attributes:
        kind: What it stands for, in a few words.
        target: Path and query.
        route: The template that it has to be reported under.
        status: The status that it has to be answered with.
        calls: How many Elasticsearch calls it makes.
        shown: Whether its trace is in the report.
    """

    kind: str
    method: str = "GET"
    target: str
    json: Any = None
    route: str
    status: int = 200
    calls: int = 1
    shown: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came back for a request; the ids are empty if the answer did not have them."""

    request: Request
    status: int
    trace_id: str
    request_id: str
    duration: float


def requests() -> Iterator[Request]:
    """The load, in its order; always the same."""
    for number, text in enumerate(
        ("running shoes", "headphones", "oak", "espresso machine", "backpack", "tent", "recycled", "USB-C", "black")
    ):
        for page in (1, 2):
            yield Request(
                kind="search",
                target=f"{SEARCH}?{httpx.QueryParams(q=text, page=page)}",
                route=SEARCH,
                shown=number == 0 and page == 1,
            )
    filtered: tuple[dict[str, Any], ...] = (
        {"q": "light", "category": ["cycling", "photography"], "max_price": 120, "in_stock": True, "sort": "cheapest"},
        {"category": "kitchen", "min_price": 50, "max_price": 100, "sort": "best_rated"},
        {"q": "jacket", "category": "running", "in_stock": True},
        {"brand": "Ironbark", "sort": "newest", "size": 50},
    )
    for query in filtered:
        yield Request(
            kind="search with filters",
            target=f"{SEARCH}?{httpx.QueryParams(query)}",
            route=SEARCH,
            shown="q" in query and "sort" in query,
        )
    for text in ("hedphones", "expresso machin", "zeppelin"):
        # A second call asks for the spelling.
        yield Request(
            kind=LOGGED_KIND,
            target=f"{SEARCH}?{httpx.QueryParams(q=text)}",
            route=SEARCH,
            calls=2,
            shown=text == "hedphones",
        )
    for typed in ("tra", "trail", "trail ru", "head"):
        yield Request(
            kind="suggest", target=f"/products/suggest?{httpx.QueryParams(q=typed)}", route="/products/suggest"
        )
    for product in ("OUT-00001", "KIT-00030"):
        yield Request(kind="product", target=f"/products/{product}", route=PRODUCT)
    yield Request(kind="missing product", target="/products/NONE-00000", route=PRODUCT, status=404, shown=True)
    yield Request(kind="bad request", target=f"{SEARCH}?size=1000", route=SEARCH, status=422, calls=0)
    yield from _writes()
    yield Request(
        kind="page beyond the result window",
        target=f"{SEARCH}?{httpx.QueryParams(q='black', page=500, size=50)}",
        route=SEARCH,
        status=500,
        shown=True,
    )
    yield Request(kind="partial answer", target="/products/brands", route="/products/brands", shown=True)
    yield Request(kind="slow report", target="/products/report", route="/products/report", shown=True)


def _writes() -> Iterator[Request]:
    product = {
        "name": "Dovetail Echo 300 camping stove, copper",
        "category": "outdoor",
        "brand": "Dovetail",
        "price": 64.5,
        "stock": 12,
    }
    yield Request(kind="new product", method="POST", target="/products", json=product, route="/products", status=201)
    yield Request(
        kind="bulk import",
        method="POST",
        target="/products/bulk",
        json=[{"id": f"NEW-{number}", "product": {**product, "price": 10 + number}} for number in range(20)],
        route="/products/bulk",
    )
    yield Request(
        kind="bulk import with failing items",
        method="POST",
        target="/products/bulk",
        json=[
            {"id": "NEW-20", "product": product},
            {"id": "NEW-21", "product": {**product, "price": "on request"}},
            {"id": "NEW-0", "overwrite": False, "product": product},
        ],
        route="/products/bulk",
        shown=True,
    )
    yield Request(kind="delete", method="DELETE", target="/products/NEW-1", route=PRODUCT, status=204)
    yield Request(
        kind="delete of a missing product", method="DELETE", target="/products/NEW-1", route=PRODUCT, status=404
    )


def go_on(base_url: str, ended: threading.Event) -> None:
    """Send reading requests of the load in a random order, some a second, until `ended` is set."""
    chance = random.Random(0)  # noqa: S311  any order will do
    reading = [request for request in requests() if request.method == "GET"]
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=base_url, limits=limits, timeout=60.0, trust_env=False) as client:
        while not ended.wait(chance.expovariate(PER_SECOND)):
            with contextlib.suppress(httpx.TransportError):  # the demo itself sees when its service has gone
                client.get(chance.choice(reading).target)


def send(base_url: str) -> list[Outcome]:
    """Send the load, one request after the other.

    Raises:
        httpx.TransportError: If the service does not answer.
    """
    outcomes = []
    # A connection each: uvicorn closes the connection of a request that ended in an exception,
    # and the next request on it would be lost.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=base_url, limits=limits, timeout=60.0, trust_env=False) as client:
        for request in requests():
            started = time.perf_counter()
            response = client.request(request.method, request.target, json=request.json)
            outcomes.append(
                Outcome(
                    request,
                    response.status_code,
                    response.headers.get("x-trace-id", ""),
                    response.headers.get("x-request-id", ""),
                    time.perf_counter() - started,
                )
            )
    return outcomes
