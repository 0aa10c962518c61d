"""The page's application and its server."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from otel_search.viewer.guard import LoopbackOnly
from otel_search.viewer.loopback import LoopbackServer
from otel_search.viewer.page import health, live, logs, metrics, now, searches, services, trace, traces
from otel_search.viewer.page.rendering import HEADERS, render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from otel_search.viewer.store import Store

_MEDIA_TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}


def page_app(store: Store) -> Starlette:
    """Make the page's application.

    Args:
        store: What it shows.
    """
    app = Starlette(
        routes=[
            Route("/", now.page),
            Route("/traces", traces.page),
            Route("/traces/{trace_id}", trace.page),
            Route("/searches", searches.page),
            Route("/searches/{hash:path}", searches.one),
            Route("/logs", logs.page),
            Route("/logs/tail", logs.tail),
            Route("/metrics", metrics.page),
            Route("/metrics/{name:path}", metrics.one),
            Route("/health", health.page),
            Route("/map", services.page),
            Route("/live", live.events),
            Route("/clear", clear, methods=["POST"]),
            Route("/static/{name}", static),
        ],
        middleware=[Middleware(LoopbackOnly, same_origin=True), Middleware(_WithHeaders)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.state.store = store
    return app


def clear(request: Request) -> Response:
    """Forget everything, and start again on an empty page."""
    request.app.state.store.clear()
    return RedirectResponse("/", 303)


def static(request: Request) -> Response:
    """A file of ours."""
    name = request.path_params["name"]
    content = _file(name)
    if content is None:
        raise HTTPException(404)
    headers = {"cache-control": "no-cache" if "-" not in name else "max-age=31536000, immutable"}
    return Response(content, headers=headers, media_type=_MEDIA_TYPES.get(name.rpartition(".")[2]))


@functools.cache
def _file(name: str) -> bytes | None:
    folder = resources.files(__package__).joinpath("static")
    for place in (folder, folder.joinpath("vendor")):
        # Compared with what is there, so that no name leads elsewhere.
        for file in place.iterdir():
            if file.name == name and file.is_file():
                return file.read_bytes()
    return None


def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    detail = "There is no such page." if status == 404 else str(getattr(error, "detail", ""))
    return render(request, "error.html", status, status=status, detail=detail)


def _failed(request: Request, error: Exception) -> Response:
    return render(request, "error.html", 500, status=500, detail=f"{type(error).__name__}: {str(error)[:500]}")


class _WithHeaders:
    """ASGI middleware that gives every answer the headers of `HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers)


class PageServer(LoopbackServer):
    """Serves the page on loopback, in a thread of this process.

    Args:
        store: What it shows.
        port: The port to listen on; 0 takes a free one.

    Raises:
        OSError: If the port cannot be listened on; its text names the address.
    """

    def __init__(self, store: Store, *, port: int = 0) -> None:
        app = page_app(store)
        super().__init__(app, port=port, purpose="show telemetry", limit_concurrency=200)
        app.state.is_ending = lambda: self.is_ending
