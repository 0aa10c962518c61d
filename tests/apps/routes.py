"""Routers in routers, applications in applications, files, CORS, a WebSocket."""

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

app = FastAPI(root_path=os.environ.get("APP_ROOT_PATH", ""))
app.add_middleware(
    CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["GET"], allow_headers=["X-Shop"]
)

reviews = APIRouter(prefix="/{item}/reviews")


@reviews.get("/{number}")
async def review(item: str, number: int):
    return {"item": item, "number": number}


items = APIRouter(prefix="/items")


@items.get("/{item}")
async def one_item(item: str):
    return {"item": item}


@items.get("/{item}/sync")
def sync_item(item: str):
    return {"item": item}


@items.websocket("/{item}/live")
async def live(socket: WebSocket, item: str):
    await socket.accept()
    await socket.send_text(item)
    await socket.close(1000)


items.include_router(reviews)
v1 = APIRouter(prefix="/v1")
v1.include_router(items)
app.include_router(v1)


@app.get("/health")
async def health():
    return "ok"


@app.get("/slash/")
async def slash():
    return "slash"


first, second = APIRouter(prefix="/c1"), APIRouter(prefix="/c2")


@first.get("/list/{item}")
async def listed(item: str):
    return item


@second.get("/list/{item}")
async def listed_again(item: str):
    return item


deep = FastAPI()


@deep.get("/leaf/{item}")
async def leaf(item: str):
    return item


catalogue = FastAPI()
catalogue.include_router(first)
catalogue.include_router(second)
catalogue.mount("/deep", deep)
app.mount("/api/v1", catalogue)
app.mount("/static", StaticFiles(directory=Path(__file__).parent))


async def plain(request: Request):
    return PlainTextResponse(request.path_params["item"])


app.mount("/plain", Starlette(routes=[Route("/thing/{item}", plain)]))

around = Starlette(
    routes=[Mount("/shop", app=app), Mount("/{tenant:int}", routes=[Mount("/in", app=app)])],
)
