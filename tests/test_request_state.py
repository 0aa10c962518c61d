"""What is kept of a request when it is over."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from otel_search.middleware import AccessLog, Excluded, Options, RequestLayer
from otel_search.redaction import Redactor


class Served(dict[str, Any]):
    """A scope that can be watched."""


async def ignore(_: Any) -> None:
    pass


async def no_more() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def test_a_timer_that_is_started_in_a_request_does_not_keep_what_served_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Servers do so for each request: a connection that is kept may be silent for so long only.
        timers.append(asyncio.get_running_loop().call_later(3600, lambda: None))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def serve() -> weakref.ref[Served]:
        scope = Served(type="http", method="GET", path="/", query_string=b"", headers=[], client=None)
        await asyncio.create_task(layer(scope, no_more, ignore))
        return weakref.ref(scope)

    async def main() -> None:
        kept = await serve()
        gc.collect()
        assert kept() is None
        timers.pop().cancel()

    timers: list[asyncio.TimerHandle] = []
    redactor = Redactor()
    layer = RequestLayer(app, Options(Excluded((), "", ()), AccessLog(lambda: "off", redactor), redactor))
    asyncio.run(main())
