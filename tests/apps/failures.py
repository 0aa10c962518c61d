"""Every way in which a request can fail; three applications under one roof, each a server of its own."""

import asyncio
import os
from typing import Annotated

from elasticsearch import Elasticsearch
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel


class UnspeakableError(Exception):
    """An exception that cannot be shown."""

    def __str__(self):
        raise RuntimeError("no text")


class Item(BaseModel):
    name: str


def failing_routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health():
        return "ok"

    @app.get("/async")
    async def in_async():
        raise ValueError("in async")

    @app.get("/sync")
    def in_sync():
        raise ValueError("in sync")

    async def dependency():
        raise LookupError("in dependency")

    @app.get("/dependency")
    async def in_dependency(value: Annotated[None, Depends(dependency)]):
        return value

    async def yielding():
        yield 1
        raise LookupError("after the response was made")

    @app.get("/exit")
    async def in_exit(value: Annotated[int, Depends(yielding)]):
        return value

    @app.get("/503")
    async def unavailable():
        raise HTTPException(503, "later")

    @app.get("/model", response_model=Item)
    async def model():
        return {"nothing": 1}

    @app.get("/unspeakable")
    async def unspeakable():
        raise UnspeakableError

    @app.get("/group")
    async def group():
        raise ExceptionGroup("several", [ValueError("one"), LookupError("two")])

    @app.get("/surrogate")
    async def surrogate():
        raise ValueError("half a character: \ud800")

    @app.get("/middleware")
    async def never():
        return "unreachable"

    @app.get("/late")
    async def never_either():
        return "unreachable"

    @app.post("/late")
    async def add_late_middleware():
        app.user_middleware.insert(0, Raising.at("/late"))
        app.middleware_stack = app.build_middleware_stack()
        return "added"


class Raising:
    """The user's own middleware, pure ASGI."""

    def __init__(self, app, path):
        self.app, self.path = app, path

    @staticmethod
    def at(path):
        from starlette.middleware import Middleware

        return Middleware(Raising, path=path)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == self.path and scope["method"] == "GET":
            raise OSError("in middleware")
        await self.app(scope, receive, send)


plain, handled, broken = FastAPI(), FastAPI(), FastAPI()
calls = {"handled": 0, "broken": 0}
for each in (plain, handled, broken):
    failing_routes(each)
    each.add_middleware(Raising, path="/middleware")


@plain.middleware("http")
async def function_style(request, call_next):
    if request.url.path == "/function":
        raise OSError("in function-style middleware")
    return await call_next(request)


@handled.exception_handler(Exception)
async def handle(request, error):
    calls["handled"] += 1
    return JSONResponse({"calls": calls["handled"], "error": type(error).__name__}, 500, {"X-Handler": "yes"})


@broken.exception_handler(Exception)
async def fail_to_handle(request, error):
    calls["broken"] += 1
    raise RuntimeError("the handler fails, too")


@plain.get("/calls")
async def count():
    return calls


engine = Elasticsearch(os.environ["ELASTICSEARCH_URL"])


released = asyncio.Event()


@plain.get("/background")
async def background(tasks: BackgroundTasks):
    async def index():
        await released.wait()
        await asyncio.to_thread(engine.index, index="products", id="1", document={"name": "lamp"})

    async def fail():
        raise ValueError("in background")

    tasks.add_task(index)
    tasks.add_task(fail)
    return "accepted"


@plain.get("/release")
async def release():
    released.set()


async def app(scope, receive, send):
    """One application by the first part of the path; the plain one without."""
    chosen = plain
    for name, other in (("handled", handled), ("broken", broken)):
        if scope["type"] == "http" and scope["path"].startswith(f"/{name}/"):
            chosen = other
            path = scope["path"].removeprefix(f"/{name}")
            scope = {**scope, "path": path, "raw_path": path.encode()}
    await chosen(scope, receive, send)
