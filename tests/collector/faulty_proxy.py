"""A search engine's bad days, in front of a real one: refused once, timed out, gone."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Faults:
    """What the proxy does next.

    Attributes:
        refuse: How many requests to answer 503, as an overloaded node does.
        time_out: How many searches to answer as if a shard had not come in time.
    """

    def __init__(self) -> None:
        self.refuse = 0
        self.time_out = 0
        self._lock = threading.Lock()

    def take(self, name: str) -> bool:
        """Whether this one is to fail; one less is left."""
        with self._lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left)


@contextlib.contextmanager
def faulty_proxy(engine: str) -> Iterator[tuple[str, Faults]]:
    """The URL of a proxy on loopback before an engine, and its faults."""
    faults = Faults()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if faults.take("refuse"):
                self._answer(503, b'{"error": {"type": "es_rejected_execution_exception"}, "status": 503}', {})
                return
            headers = {name: text for name, text in self.headers.items() if name.lower() not in ("host", "connection")}
            headers["Accept-Encoding"] = "identity"
            request = urllib.request.Request(engine + self.path, body or None, headers, method=self.command)
            try:
                with _OPENER.open(request, timeout=30) as response:
                    status, content, kept = response.status, response.read(), response.headers
            except urllib.error.HTTPError as error:
                with error:
                    status, content, kept = error.code, error.read(), error.headers
            if "/_search" in self.path and status == 200 and faults.take("time_out"):
                content = json.dumps({**json.loads(content), "timed_out": True}).encode()
            self._answer(status, content, {name: kept[name] for name in ("Content-Type",) if name in kept})

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
