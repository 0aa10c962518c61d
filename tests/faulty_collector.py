"""A Collector with faults: it takes connections and does to them what real ones do on their bad days."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from otel_search.viewer import otlp
from otel_search.viewer.recording import Recording

PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}


class FaultyCollector:
    """Answers OTLP over HTTP as `faults` says; without one it records and answers 200.

    A fault is `blackhole` (takes the request and never answers), `garbage` (answers what is not
    HTTP), `hold` (answers well when `release` is called), or a status such as `503` or `503 60`,
    where the second number is the header `Retry-After`.

    Args:
        faults: One for all signals, or some signals each with its own.

    Attributes:
        faults: May be changed at any time.
        seen: How many requests have come for each signal.
        recording: What came well.
    """

    def __init__(self, faults: str | Mapping[str, str] = "") -> None:
        self.faults = dict.fromkeys(PATHS, faults) if isinstance(faults, str) else dict(faults)
        self.seen: Counter[str] = Counter()
        self.recording = Recording()
        self._released = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def release(self) -> None:
        """Let everything go on that is held."""
        self._released.set()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        signal = next(signal for signal, path in PATHS.items() if path == handler.path)
        self.seen[signal] += 1
        match self.faults.get(signal, "").split():
            case ["blackhole"]:
                self._released.wait()
                handler.close_connection = True
            case ["garbage"]:
                handler.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
                handler.close_connection = True
            case ["hold"]:
                self._released.wait()
                self._take(handler, body)
            case [status, *retry_after]:
                handler.send_response(int(status))
                for seconds in retry_after:
                    handler.send_header("Retry-After", seconds)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
            case _:
                self._take(handler, body)

    def _take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        content_type = handler.headers["Content-Type"]
        endpoint = next(endpoint for endpoint in otlp.ENDPOINTS if endpoint.path == handler.path)
        self.recording.add(otlp.decode(endpoint, content_type, body))
        reply = otlp.encode(endpoint.response(), content_type)
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
