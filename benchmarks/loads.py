"""The three loads under which telemetry is measured: what a request of each looks like. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass

BULK_ITEMS = 100


@dataclass(frozen=True)
class Load:
    """One kind of request.

    Attributes:
        title: What the reader of a table sees.
        method: Its HTTP method.
        path: Its path.
        query: Its query string.
        body: Its body.
        share: Of the paced client's rate, as it takes so much longer.
    """

    title: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    share: float = 1.0

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends beside `Host`."""
        content = {"content-type": "application/json", "content-length": str(len(self.body))} if self.body else {}
        return {"user-agent": "bench/1", "accept": "*/*", **content}


LOADS = {
    "search": Load("the search route", "GET", "/products/search", "q=lamp&brand=acme"),
    "categories": Load("a route without Elasticsearch", "GET", "/products/categories"),
    "bulk": Load(
        f"a bulk import of {BULK_ITEMS} documents",
        "POST",
        "/products/bulk",
        body=json.dumps([{"name": f"lamp {n}", "price": 9.5 + n, "brand": "acme"} for n in range(BULK_ITEMS)]).encode(),
        share=0.2,
    ),
}
