"""The full template of the route that a request matches, where the framework does not tell it."""

from __future__ import annotations

from typing import Any

from starlette.routing import Match, Mount

from otel_search.middleware import MOUNT_PREFIX, STATE, Scope

_MAX_DEPTH = 16


def outer_prefix(scope: Scope) -> str:
    """The template of all that is before an application's own routes: a root path, and mounts of a Starlette application.

    An application that is no FastAPI has mounted this one. What it has matched may be anything that a caller chose, as
    in `Mount("/{tenant}", app)`.

    Args:
        scope: As the application gets it.
    """
    root_path = str(scope.get("app_root_path", scope.get("root_path", "")))
    prefix = root_path.rstrip("/")
    if "app_root_path" not in scope:
        return prefix
    try:
        at = {**scope, "root_path": root_path}
        routes = scope["app"].routes
        for _ in range(_MAX_DEPTH):
            if at["root_path"] == scope["root_path"]:
                return prefix
            matches = ((route, *route.matches(at)) for route in routes)
            route, _, child = next(each for each in matches if each[1] != Match.NONE)
            if isinstance(route, Mount):
                prefix += route.path_format.removesuffix("/{path}")
            at, routes = {**at, **child}, route.routes
    except Exception:
        pass  # what is around is of a kind of its own
    return root_path.rstrip("/")


def matched_template(scope: Any) -> str | None:
    """The template from the root path and the outermost mount down, or `None`; never an exception."""
    try:
        template = template_of(scope["app"].routes, dict(scope)) or None  # a host route has none
    except Exception:
        return None  # a route of the user's own that cannot be asked: routing itself decides what comes of it
    if template is not None:
        prefix = scope.get(MOUNT_PREFIX)
        template = (str(scope.get("root_path", "")).rstrip("/") if prefix is None else prefix) + template
    state = scope.get(STATE)
    if state is not None:
        state.route = template
    return template


def template_of(routes: Any, scope: dict[str, Any]) -> str | None:
    """The template of the route that takes a request, without what is before these routes.

    Args:
        routes: An application's or a mount's routes.
        scope: Of the request.
    """
    partial: str | None = None
    for route in flat_routes(routes):
        match, child = route.matches(scope)
        if match == Match.NONE:
            continue
        # Of an included route that is not FastAPI's own kind, only Starlette's copy knows the whole path.
        known = getattr(route, "starlette_route", None) or getattr(route, "route", None) or route
        if isinstance(known, Mount):
            inner = template_of(known.routes or (), {**scope, **child})
            return f"{known.path}/{{path}}" if inner is None else known.path + inner
        # Without the converters of `path`; a host route has neither, and its routes are not looked at.
        own = route if getattr(route, "path", None) else known
        template = str(getattr(own, "path_format", None) or getattr(own, "path", None) or "")
        if match == Match.FULL:
            return template
        partial = template if partial is None else partial
    return partial


def flat_routes(routes: Any) -> Any:
    """The routes of an application, those of its included routers among them."""
    # An included router is an object without a path from FastAPI 0.137 on.
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        return routes
    return iter_route_contexts(routes)
