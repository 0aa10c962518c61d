"""An application that tells about its process."""

import logging
import os

from fastapi import FastAPI
from opentelemetry import trace

logger = logging.getLogger("app")
app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/items/{number}")
async def item(number: int) -> dict[str, int]:
    with trace.get_tracer("app").start_as_current_span("work"):
        logger.info("item %d", number)
    return {"pid": os.getpid()}
