"""A search engine whose health a test changes: it answers as told, refuses, hangs, or is gone."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from typing import Any, Self


class ChangingEngine:
    """On loopback; the same port whether it is there or gone.

    Attributes:
        health: What `/_cluster/health` says.
        status: With which HTTP status everything is answered.
        delay: Seconds that each answer takes; set `released` to end all waiting.
        missing: Indices that are not there.
        asked: The requests that have arrived: method, path and headers.
    """

    def __init__(self) -> None:
        self.status = 200
        self.delay = 0.0
        self.missing: set[str] = set()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.released = threading.Event()
        self.colour()
        self._connections: list[socket.socket] = []
        self._server: http.server.ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def colour(self, colour: str = "green", nodes: int = 2) -> None:
        self.health: Any = {
            "cluster_name": "changing",
            "status": colour,
            "timed_out": False,
            "number_of_nodes": nodes,
            "number_of_data_nodes": nodes,
            "active_shards": 7,
            "unassigned_shards": 1 if colour != "green" else 0,
            "number_of_pending_tasks": 4,
        }

    def health_calls(self) -> int:
        return sum(1 for _, path, _ in self.asked if path.startswith("/_cluster/health"))

    def start(self) -> None:
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                engine.asked.append((self.command, self.path, headers))
                if engine.delay:
                    engine.released.wait(engine.delay)
                status = 404 if self.path.strip("/") in engine.missing else engine.status
                is_health = self.path.startswith("/_cluster/health")
                body = json.dumps(engine.health if is_health else {"hits": {"hits": []}}).encode()
                try:
                    self.send_response(status)
                    self.send_header("X-Elastic-Product", "Elasticsearch")
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815 - the names that http.server calls

            def setup(self) -> None:
                super().setup()
                engine._connections.append(self.connection)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        while self._connections:  # those kept alive would go on being served
            with contextlib.suppress(OSError):
                self._connections.pop().shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.stop()
