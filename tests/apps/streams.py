"""Streams, WebSockets, background work and clients that leave."""

import asyncio
import os
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

MEGABYTE = b"x" * 1024 * 1024
released = asyncio.Event()


def routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health():
        return "ok"

    @app.get("/fast")
    async def fast():
        return "fast"

    @app.get("/marker/{name}")
    async def marker(name: str, tasks: BackgroundTasks):
        async def write():
            await asyncio.sleep(0.5)
            Path(os.environ["MARKERS"], name).touch()

        tasks.add_task(write)
        return "accepted"

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(0.5)
        return "slow"

    @app.get("/endless")
    async def endless():
        await asyncio.Event().wait()

    @app.get("/download/{megabytes}")
    async def download(megabytes: int):
        async def chunks():
            for _ in range(megabytes):
                yield MEGABYTE

        return StreamingResponse(chunks())

    @app.get("/first")
    async def first():
        released.clear()

        async def chunks():
            yield b"first"
            await released.wait()
            yield b"second"

        return StreamingResponse(chunks())

    @app.post("/release")
    async def release():
        released.set()

    @app.get("/events/{number}")
    async def events(number: int):
        async def lines():
            for count in range(number):
                yield f"data: {count}\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(lines(), media_type="text/event-stream")

    @app.websocket("/echo")
    async def echo(socket: WebSocket):
        await socket.accept()
        async for text in socket.iter_text():
            if text.startswith("close "):
                await socket.close(int(text.removeprefix("close ")))
                return
            await socket.send_text(text)

    @app.websocket("/reject")
    async def reject(socket: WebSocket):
        await socket.close(1008)

    @app.websocket("/failing")
    async def failing(socket: WebSocket):
        await socket.accept()
        raise ValueError("in a session")


app, layered = FastAPI(), FastAPI()
routes(app)
routes(layered)
for _ in range(4):

    @layered.middleware("http")
    async def function_style(request, call_next):
        return await call_next(request)
