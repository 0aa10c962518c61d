"""Values bound with structlog in every place, and lines written in every other."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import structlog
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException
from structlog.contextvars import bind_contextvars, unbind_contextvars

log = structlog.get_logger()
slog = logging.getLogger("bound")
pool = ThreadPoolExecutor(2)


async def async_dependency(x_user: Annotated[str, Header()]):
    bind_contextvars(async_dependency=x_user)


def sync_dependency(x_user: Annotated[str, Header()]):
    bind_contextvars(sync_dependency=x_user, gone="unbound later")


def sync_generator(x_user: Annotated[str, Header()]):
    bind_contextvars(sync_generator=x_user)
    unbind_contextvars("gone")
    yield x_user


ALL = [Depends(async_dependency), Depends(sync_dependency), Depends(sync_generator)]


def say(place: str) -> None:
    log.info("said", place=place)
    slog.info("said", extra={"place": f"{place} (logging)"})


def routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health():
        return "ok"

    @app.get("/async", dependencies=ALL)
    async def in_async(x_user: Annotated[str, Header()], tasks: BackgroundTasks):
        bind_contextvars(route=x_user)
        loop = asyncio.get_running_loop()
        say("route")
        await asyncio.to_thread(say, "to_thread")
        await loop.run_in_executor(None, say, "run_in_executor")
        await asyncio.wrap_future(pool.submit(say, "pool"))
        thread = threading.Thread(target=say, args=("thread",))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.create_task(asyncio.to_thread(say, "task"))
        tasks.add_task(say, "background")
        return x_user

    @app.get("/sync", dependencies=ALL)
    def in_sync(x_user: Annotated[str, Header()]):
        bind_contextvars(route=x_user)
        say("sync route")
        return x_user

    @app.get("/refused", dependencies=ALL)
    async def refused(x_user: Annotated[str, Header()]):
        bind_contextvars(route=x_user)
        raise HTTPException(418)

    @app.get("/boom", dependencies=ALL)
    async def boom(x_user: Annotated[str, Header()]):
        bind_contextvars(route=x_user)
        raise ValueError("boom")

    @app.get("/nothing")
    async def nothing():
        say("nothing")
        await asyncio.wrap_future(pool.submit(say, "nothing in pool"))


app, layered = FastAPI(), FastAPI()
routes(app)
routes(layered)


@layered.middleware("http")
async def function_style(request, call_next):
    if request.url.path == "/health":
        return await call_next(request)
    bind_contextvars(middleware=request.headers.get("x-user"))
    response = await call_next(request)
    say("middleware")
    return response
