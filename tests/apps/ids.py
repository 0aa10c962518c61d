"""Every kind of response, and what the application itself sees of the headers."""

import asyncio

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from opentelemetry import trace

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["*"])
log = structlog.get_logger()


@app.get("/health")
async def health():
    return "ok"


@app.get("/item/{item}")
async def one_item(item: int):
    log.info("in the route")
    with trace.get_tracer("ids").start_as_current_span("child"):
        await asyncio.sleep(0)
    return {"item": item}


@app.get("/stream")
async def stream():
    return StreamingResponse(iter([b"a", b"b"]))


@app.get("/boom")
async def boom():
    raise ValueError("boom")


@app.get("/gone")
async def gone():
    raise HTTPException(410)


@app.get("/redirect")
async def redirect():
    return RedirectResponse("/item/1")


@app.get("/nothing", status_code=204)
async def nothing():
    return Response(status_code=204)


@app.get("/own")
async def own():
    return JSONResponse({}, headers={"X-Request-ID": "the-applications-own", "X-Process-Time": "7"})


@app.get("/seen")
async def seen(request: Request):
    return {"request_id": request.headers.getlist("x-request-id")}


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def constant(scope, receive, send):
    """An ASGI application that sends the same message objects every time."""
    await send(START)
    await send({"type": "http.response.body", "body": b"constant"})


app.mount("/constant", constant)
mounted = FastAPI()


@mounted.get("/list/{item}")
async def listed(item: int):
    return item


app.mount("/mounted", mounted)
