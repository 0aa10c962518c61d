import asyncio
import os

from elasticsearch import AsyncElasticsearch
from fastapi import FastAPI

import otel_search

client = AsyncElasticsearch(os.environ["ENGINE"], max_retries=0, connections_per_node=30)
app = FastAPI()


@app.get("/sleep/{milliseconds}")
@otel_search.operation("nap")
async def sleep(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return milliseconds


@app.get("/search")
async def search():
    return (await client.search(index="things", query={"match_all": {}})).body
