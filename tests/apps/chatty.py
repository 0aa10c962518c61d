"""An application that logs as much as it is told."""

import logging
import os
import resource

import structlog
from fastapi import FastAPI

log = structlog.get_logger("chatty")
app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/log/{lines}")
async def lines(lines: int, level: str = "info", text: str = "") -> int:
    for number in range(lines):
        log.log(logging.getLevelNamesMapping()[level.upper()], "chat", number=number, pid=os.getpid(), text=text)
    return os.getpid()


@app.get("/memory")
async def memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@app.get("/fork")
async def fork() -> int:
    child = os.fork()
    if child == 0:
        log.info("in the child")
        os._exit(0)
    os.waitpid(child, 0)
    return child
