"""prometheus-fastapi-instrumentator, as its documentation sets it up: metrics alone, fetched by a scrape.

https://github.com/trallnag/prometheus-fastapi-instrumentator
"""

from __future__ import annotations

from prometheus_fastapi_instrumentator import Instrumentator

from benchmarks.driver import request
from benchmarks.loads import Load
from benchmarks.searchapp import app

Instrumentator().instrument(app).expose(app)


async def flush() -> dict[str, int]:
    """One scrape; what it has fetched."""
    page = await request(app, Load("a scrape", "GET", "/metrics"))
    lines = [line for line in page.splitlines() if not line.startswith(b"#")]
    return {"points": len(lines), "bytes": len(page)}


__all__ = ["app", "flush"]
