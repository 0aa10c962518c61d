"""A small service as a user would write it: routers, a mount, failures, streaming, a WebSocket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import structlog
from fastapi import APIRouter, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse

log = structlog.get_logger()
standard_log = logging.getLogger("app")
app = FastAPI()
router = APIRouter(prefix="/v1")
mounted = FastAPI()


@router.get("/items/{item_id}")
async def item(item_id: str) -> dict[str, str]:
    log.info("item", id=item_id)
    standard_log.info("std item %s", item_id)
    return {"id": item_id}


@router.get("/sync/{item_id}")
def sync_item(item_id: str) -> dict[str, str]:
    standard_log.warning("in thread")
    return {"id": item_id}


@router.get("/boom")
async def boom() -> None:
    raise ValueError("boom token=hunter2 http://x/?token=hunter3")


@router.get("/503")
async def unavailable() -> None:
    raise HTTPException(503)


@mounted.get("/list/{item_id}")
async def listed(item_id: str) -> str:
    return item_id


app.include_router(router)
app.mount("/api/v2", mounted)


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"

    return StreamingResponse(chunks())


@app.websocket("/ws")
async def websocket(connection: WebSocket) -> None:
    await connection.accept()
    await connection.send_text("hi")
    await connection.close(1000)
