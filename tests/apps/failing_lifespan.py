"""Applications that cannot start, or cannot end well."""

from contextlib import asynccontextmanager

from fastapi import FastAPI


class UnreachableError(Exception):
    pass


@asynccontextmanager
async def failing_start(_):
    raise UnreachableError("no engine at https://elastic:hunter2@engine:9200")
    yield


@asynccontextmanager
async def failing_end(_):
    yield
    raise UnreachableError("no engine at https://elastic:hunter2@engine:9200")


start = FastAPI(lifespan=failing_start)
end = FastAPI(lifespan=failing_end)
