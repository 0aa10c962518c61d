import asyncio
import os

from elasticsearch import AsyncElasticsearch
from fastapi import FastAPI, HTTPException, Request
from opentelemetry import metrics

from otel_search import Kpi

client = AsyncElasticsearch(os.environ["ENGINE"], max_retries=0)
orders = metrics.get_meter("shop").create_counter("shop.orders", unit="{order}")
Kpi("orders", "count", "{order}", "shop.orders")
app = FastAPI()


@app.get("/status/{code}")
async def status(code: int):
    if code >= 400:
        raise HTTPException(code)
    orders.add(1)
    return code


@app.get("/raise")
async def fails():
    raise ValueError("a fault of the service")


@app.get("/slow")
async def slow():
    await asyncio.sleep(0.4)
    return "slow"


@app.get("/search/{index}")
async def search(index: str):
    return (await client.search(index=index, query={"match_all": {}})).body


@app.get("/wait")
async def wait(request: Request):
    while not await request.is_disconnected():
        await asyncio.sleep(0.02)
    return "nobody is there"
