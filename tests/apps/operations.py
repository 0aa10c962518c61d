"""An application whose routes are, and use, business operations."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from otel_search import operation

app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@operation("load_prices")
def load_prices(count: int) -> list[float]:
    operation.set(prices=count)
    return [1.0] * count


@app.get("/search")
@operation("product_search", arguments={"q": "shop.query", "category": "category"})
async def search(q: str, category: str = "any", token: str = "none") -> dict[str, int]:
    prices = await asyncio.to_thread(load_prices, len(q))
    operation.set(hits=len(prices))
    return {"hits": len(prices)}


@app.get("/fails")
@operation("checkout")
async def fails() -> None:
    raise LookupError("no such basket: https://shop.example/?token=hunter2")


@app.get("/refuses")
@operation("checkout")
def refuses() -> None:
    raise HTTPException(409, "sold out")


@operation("borrow_connection")
def connection() -> Iterator[str]:
    yield "connection"


@app.get("/dependency")
def dependency(borrowed: Annotated[str, Depends(connection)]) -> str:
    with operation("use_connection"):
        return borrowed


@operation("export_products")
async def rows() -> AsyncIterator[str]:
    for number in range(3):
        operation.set(rows=number + 1)
        yield f"{number}\n"


@app.get("/export")
async def export() -> StreamingResponse:
    return StreamingResponse(rows())
