"""What tells open pages that something new has come: server-sent events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

_INTERVAL = 1.0
_STILL_THERE = 15


async def events(request: Request) -> Response:
    """A stream with an event for each kind of telemetry that came, at most one a second."""
    return StreamingResponse(
        _changes(request),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _changes(request: Request) -> AsyncIterator[str]:
    store = request.app.state.store
    is_ending = request.app.state.is_ending
    seen = store.state
    yield f"retry: 2000\nevent: hello\ndata: {seen.version}\n\n"
    quiet = 0
    while not is_ending():
        await asyncio.sleep(_INTERVAL)
        state = store.state
        changed = [kind for kind in ("spans", "logs", "points") if getattr(state, kind) != getattr(seen, kind)]
        for kind in changed:
            yield f"event: {kind}\ndata: {getattr(state, kind)}\n\n"
        quiet = 0 if changed else quiet + 1
        if quiet == _STILL_THERE:
            yield ": still there\n\n"  # so that a reader who has left is noticed
            quiet = 0
        seen = state
