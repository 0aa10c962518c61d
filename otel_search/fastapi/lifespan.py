"""An application's lifespan: when it serves, when it drains, the last flush, and why it failed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from anyio.to_thread import run_sync

from otel_search import delivery, logs
from otel_search.endpoints import Endpoints
from otel_search.middleware import STATE, Message, Receive, Scope, Send

_logger = logging.getLogger("otel_search.fastapi")


async def serve(app: Callable[..., Any], scope: Scope, receive: Receive, send: Send, endpoints: Endpoints) -> None:
    """Pass a lifespan on, and flush when it ends: after SIGTERM this is the last moment that is sure to come.

    Args:
        app: The application.
        scope: Of the lifespan.
        receive: As in ASGI.
        send: As in ASGI.
        endpoints: Our routes, which tell how far it is.
    """

    async def flushing_send(message: Message) -> None:
        ours = delivery.current()
        if message["type"] == "lifespan.startup.complete":
            logs.begin_serving()
            endpoints.health.lifecycle.serving()
        elif message["type"].endswith(".failed"):
            message = _said(message)
        if message["type"].startswith("lifespan.shutdown."):
            await run_sync(endpoints.end)
        if ours is not None:
            if message["type"] == "lifespan.startup.complete":
                ours.resume()
            elif message["type"] != "lifespan.startup.failed":
                await run_sync(logs.end_serving)
                await run_sync(ours.drain)
        await send(message)

    async def noting_receive() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            endpoints.health.lifecycle.draining()
        return message

    scope[STATE] = None  # a mounted application's lifespan is not a second end
    endpoints.health.lifecycle.starting()
    await app(scope, noting_receive, flushing_send)


def _said(message: Message) -> Message:
    """Say by what exception a lifespan failed, as by any other; a server makes a message of its traceback.

    Args:
        message: What Starlette sends while it handles the exception.

    Returns:
        What the server gets to know: not the traceback again.
    """
    kind, error, _ = exc_info = sys.exc_info()
    if kind is None or error is None or logs.chain() is None or kind.__name__ not in message.get("message", ""):
        return message
    stage = message["type"].split(".")[1]
    _logger.error("application %s failed", stage, exc_info=exc_info)
    return {**message, "message": ""}
