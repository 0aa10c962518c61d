"""Our own routes before an application's: found by path, given up where the application has one itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import fastapi
from starlette.routing import Match, Mount

from otel_search.endpoints import MAX_BODY, Endpoints, Request
from otel_search.fastapi.templates import flat_routes, template_of
from otel_search.middleware import App, Receive, Scope, Send, inner_path

_logger = logging.getLogger("otel_search.fastapi")

_MAX_QUERY = 1024
_MAX_SAID = 16


class Answers:
    """Decides who answers a request, and answers in the name of `endpoints`.

    Args:
        app: The application that is served.
        endpoints: Makes our routes when they are asked for: the service's name and version are known then.
    """

    def __init__(self, app: fastapi.FastAPI, endpoints: Callable[[], Endpoints]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._own: dict[tuple[str, str, int], bool] = {}
        self._said: set[str] = set()

    def __call__(self, scope: Scope) -> App | None:
        """What answers this request in the application's place, or `None`."""
        if scope["type"] != "http":
            return None
        path = inner_path(scope, self._app.root_path)
        if path not in self._endpoints().paths or self._is_own(scope, path):
            return None
        return self._answer

    def _is_own(self, scope: Scope, path: str) -> bool:
        routes = self._app.router.routes
        key = (path, scope["method"], len(routes))
        known = self._own.get(key)
        if known is None:
            if len(self._own) > 64:  # methods of a caller's own invention
                self._own.clear()
            try:
                plain = {**scope, "path": path, "root_path": "", "raw_path": path.encode()}
                known = any(is_routed(routes, {**plain, "path": each}) for each in (path, f"{path}/"))
                if known and not (template_of(routes, plain) or path).startswith(path):
                    self._say(path)
            except Exception:
                known = True  # a route that cannot be asked may well be the one
            self._own[key] = known
        return known

    def _say(self, path: str) -> None:
        """A page for all paths looks like a healthy service to a probe, which nobody may have meant."""
        if path in self._said or len(self._said) >= _MAX_SAID:
            return
        self._said.add(path)
        _logger.info(
            "%s is answered by the application's own route for all such paths, and not by otel-search; "
            "OTEL_SEARCH_MANAGEMENT_PORT serves it on a port of its own",
            path,
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(
            parse_qsl((scope.get("query_string") or b"")[:_MAX_QUERY].decode("latin-1"), keep_blank_values=True)
        )
        body = await _body(receive) if scope["method"] == "PUT" else b""
        request = Request(inner_path(scope, self._app.root_path), scope["method"], query, headers, body)
        response = await self._endpoints().answer(request)
        fields = {
            "content-type": response.content_type,
            "content-length": str(len(response.body)),
            "cache-control": "no-store",
            **response.headers,
        }
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
            }
        )
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    """The body of a request, or nothing if it is too long to be one of ours."""
    body = b""
    while len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= MAX_BODY else b""
    return b""


def is_routed(routes: Any, scope: dict[str, Any]) -> bool:
    """Whether one of the routes takes the request, if only to refuse its method.

    Args:
        routes: An application's or a mount's routes.
        scope: Of the request.
    """
    for route in flat_routes(routes):
        match, child = route.matches(scope)
        if match == Match.NONE:
            continue
        if not isinstance(getattr(route, "original_route", route), Mount):
            return True
        inner = getattr(route, "routes", None)
        if inner:
            if is_routed(inner, {**scope, **child}):
                return True
        elif getattr(route, "path", ""):
            return True  # of what is mounted at the root, like files, nothing is known
    return False
