"""Our routes on a port of their own, on loopback by default: a server in threads, beside the event loop.

It answers while the application's event loop is stalled, which is when one wants to know. All workers
listen on the one port, the kernel gives each connection to one of them, and each tells of all. So no worker
loses a race for the port, and none has to hand it over when it ends. Whoever else has it is waited for: the
server that this one takes over from goes on until it has answered its last request.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextvars import Context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from otel_search.endpoints.response import MAX_BODY, Request, Response, text
from otel_search.endpoints.sharing import listened_on

_logger = logging.getLogger("otel_search.endpoints")

_MAX_CONNECTIONS = 64
_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
"""Between attempts to listen on a port that somebody else has."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, answer: Callable[[Request], Response], paths: frozenset[str], shared: bool
    ) -> None:
        self._shared = shared
        self.answer = answer
        self.paths = paths
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        if self._shared and hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the interface's
        """A client that left, mostly; what goes wrong in an answer is logged there."""
        _logger.debug("a connection to the management port has failed", exc_info=True)  # noqa: LOG014 - called while it is handled


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "otel-search"
    sys_version = ""
    timeout = _SECONDS
    server: _Server

    def _answer(self) -> None:
        url = urlsplit(self.path[:2048])
        path = unquote(url.path).rstrip("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "")
        is_read = self.command == "PUT" and length.isdecimal() and int(length) <= MAX_BODY
        body = self.rfile.read(int(length)) if is_read else b""
        request = Request(path, self.command, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body)
        response = self.server.answer(request) if path in self.server.paths else text(404, "not found")
        self.send_response(response.status)
        fields = {
            "content-type": response.content_type,
            "content-length": str(len(response.body)),
            "cache-control": "no-store",
            **response.headers,
        }
        if self.command not in ("GET", "HEAD"):
            self.close_connection = True  # whatever its body is, it stays unread
            fields["connection"] = "close"
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815 - http.server's

    def log_message(self, *_: object) -> None:
        """No lines for probes and scrapes."""


def listen(
    host: str,
    port: int,
    answer: Callable[[Request], Response],
    paths: frozenset[str],
    variable: str = "OTEL_SEARCH_MANAGEMENT_PORT",
) -> None:
    """Answer on a port of our own, in threads that hold no process at its end.

    A port that cannot be listened on is said, and tried again until it can.

    Args:
        host: The address to listen on.
        port: The port; 0 for any.
        answer: Answers a request for one of `paths`.
        paths: What is there.
        variable: Where the port was chosen.
    """

    def serve() -> None:
        server, _held = _listening(host, port, answer, paths, variable)
        shown = f"[{host}]" if ":" in host else host
        there = ", ".join(sorted(path or "/" for path in paths))
        _logger.info("http://%s:%d serves %s", shown, server.server_address[1], there)
        server.serve_forever()

    # Not the context of a request, which may be what the application is served with first.
    threading.Thread(target=Context().run, args=(serve,), name="otel-search management", daemon=True).start()


def _listening(
    host: str, port: int, answer: Callable[[Request], Response], paths: frozenset[str], variable: str
) -> tuple[_Server, object]:
    """What listens, as soon as it can, and what has to be kept meanwhile."""
    said = None
    while True:
        try:
            return listened_on(
                port,
                variable,
                lambda shared: _Server(host, port, answer, paths, shared),
                _Server.server_close,
            )
        except (OSError, TypeError, UnicodeError) as error:  # the latter two for what is no host's name at all
            why = str(getattr(error, "strerror", None) or error)
            if why != said:
                _logger.error(
                    "%s=%s cannot be listened on at %s (%s): nobody can ask there; it is tried again every second",
                    variable,
                    port,
                    host,
                    why,
                )
            said = why
        time.sleep(_AGAIN_SECONDS)
