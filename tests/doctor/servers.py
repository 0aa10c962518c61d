"""Servers that are wrong, each in one way."""

from __future__ import annotations

import contextlib
import email.utils
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc


@contextlib.contextmanager
def answering(
    status: int = 200,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    refuses_contents: bool = False,
    seconds_ahead: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """The port of a server that answers everything in one way.

    Args:
        status: Of its answers.
        body: Of its answers.
        headers: Of its answers.
        refuses_contents: Whether a request with a body is answered with 400.
        seconds_ahead: How far its clock is ahead.
        tls: Its TLS, if it has any.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            self.send_response_only(400 if refuses_contents and length else status)
            self.send_header("Date", email.utils.formatdate(time.time() + seconds_ahead, usegmt=True))
            for name, value in (headers or {"Content-Type": "application/x-protobuf"}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a handshake that fails is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def hung() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """A port that nothing listens on, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def speaking_grpc(service: str = "TraceService", code: grpc.StatusCode | None = None) -> Iterator[int]:
    """The port of a gRPC server with one OTLP service, which may refuse.

    Args:
        service: `TraceService`, or something else to have no OTLP.
        code: What it answers, if it refuses.
    """

    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        if code is not None:
            context.abort(code, "no")
        return b""

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    name = f"opentelemetry.proto.collector.trace.v1.{service}"
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait(10)
