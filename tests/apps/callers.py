import base64
import json
import logging
import os
from typing import Annotated

import elasticsearch
from fastapi import BackgroundTasks, FastAPI, Header, Request
from starlette.middleware.base import BaseHTTPMiddleware

import otel_search

log = logging.getLogger("callers")
client = elasticsearch.AsyncElasticsearch(os.environ["ENGINE"], max_retries=0)
app = FastAPI()

if os.environ.get("HOOK"):

    @otel_search.identify_by
    def subject(scope):
        if "user" in scope:
            return {"user_id": scope["user"], "session_id": 7}
        token = dict(scope["headers"])[b"authorization"].split(b".")[1]
        return json.loads(base64.urlsafe_b64decode(token + b"=="))["sub"]


async def authenticating(request: Request, call_next):
    if "x-late" in request.headers:
        request.scope["user"] = request.headers["x-late"]
    return await call_next(request)


app.add_middleware(BaseHTTPMiddleware, dispatch=authenticating)


@app.get("/search")
async def search():
    log.info("before the search")
    return (await client.search(index="things", query={"match": {"name": "lamp"}})).body


@app.get("/known")
async def known(tasks: BackgroundTasks, x_is: Annotated[str, Header()]):
    log.info("before it is known")
    otel_search.identify(user_id=x_is, session_id=f"session of {x_is}")
    log.info("after it is known")
    await client.search(index="things")
    tasks.add_task(log.info, "in the background")
    return x_is


@app.get("/threaded")
def threaded(x_is: Annotated[str, Header()]):
    otel_search.identify(user_id=x_is)
    log.info("in a thread")
    return x_is


@app.get("/odd")
async def odd():
    class Odd:
        def __str__(self):
            raise RuntimeError("no text")

    for value in (Odd(), "", "x" * 100_000, "\ud800", b"bytes", 3.5, ["a"]):
        otel_search.identify(user_id=value, session_id=value)
    return "still here"


@app.get("/boom")
async def boom(x_is: Annotated[str, Header()]):
    otel_search.identify(user_id=x_is)
    raise ValueError("boom")
