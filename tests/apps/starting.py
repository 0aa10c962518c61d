import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

from elasticsearch import AsyncElasticsearch
from fastapi import FastAPI

client = AsyncElasticsearch(os.environ["ENGINE"], max_retries=0)


@asynccontextmanager
async def lifespan(_: FastAPI):
    while not Path(os.environ["STARTED"]).exists():
        await asyncio.sleep(0.02)
    yield


app = FastAPI(lifespan=lifespan)
