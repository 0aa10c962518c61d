"""The page's application and its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_search.viewer.guard import LoopbackOnly
from otel_search.viewer.loopback import LoopbackServer

if TYPE_CHECKING:
    from starlette.requests import Request

    from otel_search.viewer.store import Store


def page_app(store: Store) -> Starlette:
    """Make the page's application."""

    def index(_request: Request) -> Response:
        state = store.state
        return PlainTextResponse(f"{state.spans} spans, {state.logs} log records, {state.points} points\n")

    return Starlette(routes=[Route("/", index)], middleware=[Middleware(LoopbackOnly, same_origin=True)])


class PageServer(LoopbackServer):
    """Serves the page on loopback, in a thread of this process.

    Args:
        store: What it shows.
        port: The port to listen on; 0 takes a free one.
    """

    def __init__(self, store: Store, *, port: int = 0) -> None:
        super().__init__(page_app(store), port=port, purpose="show telemetry", limit_concurrency=200)
