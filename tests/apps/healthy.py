import os
import time

from elasticsearch import AsyncElasticsearch, Elasticsearch
from fastapi import APIRouter, FastAPI

from otel_search import HealthCheck, HealthResult

URL = os.environ["ENGINE"]
client = AsyncElasticsearch(URL, api_key="c2VjcmV0", retry_on_timeout=False, max_retries=0)
sync_client = Elasticsearch(URL, api_key="c2VjcmV0")
app = FastAPI(version="2.3.4")
router = APIRouter()


@HealthCheck("queue", critical=False, groups=["background"])
async def queue():
    return HealthResult.degraded("long", depth=3)


@HealthCheck("ledger")
def ledger():
    return "12 accounts"


@router.get("/items/healthy")
async def items():
    return "ok"


@router.get("/search")
async def search():
    return (await client.search(index="things")).body


@router.get("/hang")
def hang():
    time.sleep(3600)


@router.get("/block/{seconds}")
async def block(seconds: float):
    time.sleep(seconds)
    return seconds


app.include_router(router)
app.mount("/files", FastAPI())
