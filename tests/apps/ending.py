"""An application with an end of its own: a lifespan, and what the variable `OWN` names."""

import asyncio
import atexit
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from fastapi import BackgroundTasks, FastAPI
from opentelemetry import trace

OWN = os.environ.get("OWN", "").split(",")
logger = logging.getLogger("app")
tracer = trace.get_tracer("app")


def own_handler(number: int, _frame: FrameType | None) -> None:
    logger.warning("own handler")
    sys.exit(7)


if "handler" in OWN:
    signal.signal(signal.SIGTERM, own_handler)
if "atexit" in OWN:
    atexit.register(logger.warning, "own atexit")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    with tracer.start_as_current_span("closing"):
        logger.warning("closing")


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> int:
    return os.getpid()


@app.get("/items/{number}")
async def item(number: int) -> int:
    logger.warning("item %d", number)
    return os.getpid()


async def later(number: int, seconds: float) -> None:
    await asyncio.sleep(seconds)
    with tracer.start_as_current_span(f"later {number}"):
        logger.warning("later %d", number)


@app.get("/later/{number}")
async def with_background(number: int, tasks: BackgroundTasks, seconds: float = 0.3) -> int:
    tasks.add_task(later, number, seconds)
    return os.getpid()
