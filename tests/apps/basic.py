import logging, structlog, asyncio
from fastapi import FastAPI, APIRouter, BackgroundTasks, WebSocket, HTTPException
from fastapi.responses import StreamingResponse
log = structlog.get_logger()
slog = logging.getLogger("app")
app = FastAPI()
r = APIRouter(prefix="/v1")
@r.get("/items/{id}")
async def item(id: str):
    log.info("item", id=id); slog.info("std item %s", id); return {"id": id}
@r.get("/sync/{id}")
def sync(id: str):
    slog.warning("in thread"); return {"id": id}
@r.get("/boom")
async def boom(): raise ValueError("boom token=hunter2 http://x/?token=hunter3")
@r.get("/503")
async def s503(): raise HTTPException(503)
app.include_router(r)
sub = FastAPI()
@sub.get("/list/{id}")
async def lst(id: str): return id
app.mount("/api/v2", sub)
@app.get("/health")
async def health(): return "ok"
@app.get("/stream")
async def stream():
    async def gen():
        for i in range(3): yield b"x"
    return StreamingResponse(gen())
@app.websocket("/ws")
async def ws(s: WebSocket):
    await s.accept(); await s.send_text("hi"); await s.close(1000)
