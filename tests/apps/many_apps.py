"""Applications built, loaded and served again and again in one process; says what it saw in one line."""

import copy
import importlib
import json
import sys
import threading

import rebuilt
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

import otel_search
from otel_search.fastapi.hooks import hooks

seen = {"requests": 0, "on their own": 0, "threads": []}


def ask(client: TestClient, path: str = "/item/1") -> None:
    response = client.get(path)
    seen["requests"] += 1
    assert response.status_code == 200, response.status_code
    assert len(response.headers.get_list("x-request-id")) == 1
    assert len(response.headers["x-trace-id"]) == 32


# Twenty fixtures in a row.
for _ in range(20):
    with TestClient(rebuilt.build()) as client:
        ask(client)
    seen["threads"].append(threading.active_count())

# Two at the same time, and one inside of the other.
outer, inner = rebuilt.build(), rebuilt.build()
outer.mount("/inner", inner)
with TestClient(outer) as first, TestClient(inner) as second:
    for client in (first, second, first):
        ask(client)
    ask(first, "/inner/item/1")

# The module loaded again.
for _ in range(3):
    importlib.reload(rebuilt)
    with TestClient(rebuilt.app) as client:
        ask(client)


# A handler added and a stack built after the first request.
async def handle(request, error):
    return JSONResponse({"handled": True}, 200)


late = rebuilt.build()
with TestClient(late, raise_server_exceptions=False) as client:
    ask(client)
    late.add_exception_handler(LookupError, handle)
    late.middleware_stack = late.build_middleware_stack()
    ask(client, "/boom")
    ask(client)

# Instrumented by hand on top of the launcher, any number of times, taken off and put on again.
by_hand = FastAPI()
for _ in range(3):
    otel_search.instrument(by_hand)


@by_hand.get("/item/{item}")
async def one_item(item: int):
    return item


with TestClient(by_hand) as client:
    ask(client)
    otel_search.uninstrument(by_hand)
    assert "x-request-id" not in client.get("/item/1").headers
    seen["on their own"] += 1
    otel_search.instrument(by_hand)
    ask(client)


# A copy, with a route of its own.
copied = copy.copy(rebuilt.app)
copied.router = rebuilt.build().router
copied.middleware_stack = None
copied.get("/own")(lambda: "own")
with TestClient(copied) as client:
    ask(client, "/own")


# A subclass, and an application that another ASGI application wraps.
class Mine(FastAPI):
    async def __call__(self, scope, receive, send):
        await super().__call__(scope, receive, send)


mine = Mine()
mine.include_router(rebuilt.build().router)


async def wrapper(scope, receive, send):
    await mine(scope, receive, send)


for each in (mine, wrapper):
    with TestClient(each) as client:
        ask(client)

# And nothing is left when everything is taken off.
hooks().uninstall()
with TestClient(rebuilt.build()) as client:
    assert "x-request-id" not in client.get("/item/1").headers
    seen["on their own"] += 1
assert FastAPI.__call__.__module__ == "fastapi.applications"

json.dump(seen, sys.stdout)
print()
