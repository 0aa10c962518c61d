"""Which requests have no telemetry: health probes, `/metrics`, and what the user excludes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_search.aside import context_without_telemetry
from otel_search.middleware.state import Scope

__all__ = ["Excluded", "context_without_telemetry", "inner_path"]

_PROBES = frozenset(
    {"/health", "/healthz", "/live", "/livez", "/ready", "/readyz", "/metrics"}
    | {
        f"/health/{part}"
        for part in ("live", "liveness", "livez", "ready", "readiness", "readyz", "startup", "startupz", "status")
    }
)


class Excluded:
    """Decides whether a request is excluded.

    Args:
        patterns: Searched in the full URL without its query, as upstream's instrumentations do.
        root_path: The application's own root path, which the server may not know.
        paths: More paths to exclude, beside the usual ones of probes.
    """

    def __init__(
        self, patterns: tuple[re.Pattern[str], ...], root_path: str = "", paths: frozenset[str] = frozenset()
    ) -> None:
        self._paths = paths
        self._patterns = patterns
        self._root_path = root_path.rstrip("/")

    def __call__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request of this scope has no telemetry."""
        path: str = scope["path"]
        inner = inner_path(scope, self._root_path)
        if (inner in _PROBES or inner in self._paths) and scope["type"] == "http":
            return True
        if not self._patterns:
            return False
        host = headers.get(b"host", b"").decode("latin-1") or _server(scope)
        url = f"{scope.get('scheme', 'http')}://{host}{path}"
        return any(pattern.search(url) for pattern in self._patterns)


def inner_path(scope: Scope, root_path: str) -> str:
    """The path of a request below its application's root path, without a slash at its end.

    Args:
        scope: Of the request.
        root_path: The application's own, if it has one; else the server's counts.
    """
    path: str = scope["path"]
    root_path = root_path.rstrip("/") or scope.get("root_path", "")
    inner = _below(path, root_path) if root_path else path
    return inner[:-1] if inner[-1:] == "/" else inner


def _below(path: str, root_path: str) -> str:
    # As Starlette does: the server's path has the root path, a proxy may have cut it off.
    rest = path[len(root_path) :]
    return rest if path.startswith(root_path) and rest[:1] in ("", "/") else path


def _server(scope: Scope) -> str:
    host, port = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104 - a name in a URL, nothing is bound
    return str(host) if port in (80, None) else f"{host}:{port}"
