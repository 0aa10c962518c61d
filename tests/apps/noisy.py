"""An application that logs everything, and whose own libraries log as well."""

import logging

from fastapi import FastAPI

logging.getLogger().setLevel(logging.DEBUG)
logger = logging.getLogger("app")
app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/items/{number}")
async def item(number: int) -> int:
    logger.info("first of %d", number)
    logger.debug("second of %d", number)
    return number
