"""The product search service: `uvicorn otel_search.demo.app:app`.

It is written as if there was no telemetry in the world. It runs against Elasticsearch, OpenSearch
or the demo's embedded engine; see `service/config.py` for its settings.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from elastic_transport import ConnectionError as SearchUnreachable
from elasticsearch import AsyncElasticsearch
from elasticsearch.dsl import async_connections
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from otel_search.demo.service.config import ELASTICSEARCH_URL, client_options
from otel_search.demo.service.products import Product
from otel_search.demo.service.routes import router

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Keep one client, with its connections, for the life of the process."""
    async with AsyncElasticsearch(**client_options()) as client:
        async_connections.add_connection("default", client)
        await Product.init()
        logger.info("index %s is ready on %s", Product.Index.name, ELASTICSEARCH_URL)
        yield
    async_connections.remove_connection("default")


app = FastAPI(title="Product search", lifespan=lifespan)
app.include_router(router)


@app.exception_handler(SearchUnreachable)
async def search_unreachable(_request: Request, _error: SearchUnreachable) -> JSONResponse:
    """Say that it is the search engine that is missing."""
    logger.error("the search engine does not answer")
    return JSONResponse({"detail": "search is not available"}, status_code=503)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service answers."""
    return {"status": "ok"}
