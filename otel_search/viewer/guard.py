"""Who may ask a server on loopback: programs of this machine, and no page of another site.

A socket on 127.0.0.1 is out of reach for other machines, but not for what a browser on this one
runs: a site can point a name of its own at 127.0.0.1 (DNS rebinding) or post across origins.
Both show in the headers `Host` and `Origin`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_SHOWN = 80


def is_loopback(host: str) -> bool:
    """Whether a host, without port, is this machine's own: `localhost`, `127.…` or `[::1]`."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """ASGI middleware that answers 403 to a `Host` or `Origin` that is not this machine's.

    Args:
        app: What is guarded.
        same_origin: Refuse pages of other ports of this machine, too.
    """

    def __init__(self, app: ASGIApp, *, same_origin: bool = False) -> None:
        self._app = app
        self._same_origin = same_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refused := self._refused(scope)) is not None:
            response = PlainTextResponse(f"{refused}; accepted: localhost, 127.0.0.1, [::1]\n", 403)
            response.headers["connection"] = "close"  # the body is not read
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> str | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_loopback(_host(f"//{hosts[0]}")):
            return f"header Host is {', '.join(hosts)[:_SHOWN]!r}"
        for name, value in scope["headers"]:
            if name != b"origin":
                continue
            origin = value.decode("latin-1")
            same = origin.partition("://")[2] == hosts[0]
            if not same and (self._same_origin or not is_loopback(_host(origin))):
                return f"header Origin is {origin[:_SHOWN]!r}"
        return None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
