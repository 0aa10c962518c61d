"""Exporters, their records, and servers to write them to."""

from __future__ import annotations

import gzip
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_search.log_exporter import ElasticsearchLogExporter
from otel_search.settings import Settings

TIME = 1_764_029_771_123_456_789  # 2025-11-25T00:16:11.123456789Z


def record(number: int = 0, *, timestamp: int = TIME, body: Any = "products searched", **attributes: Any) -> Any:
    return ReadableLogRecord(
        LogRecord(
            timestamp=timestamp + number,
            observed_timestamp=timestamp + number + 1,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=body,
            attributes={"number": number, **attributes},
        ),
        Resource({"service.name": "catalogue"}),
        InstrumentationScope("shop.search", "1.0"),
    )


def exporter(url: str, **settings: Any) -> ElasticsearchLogExporter:
    return ElasticsearchLogExporter(replace(Settings(), logs_elasticsearch_url=(url,), **settings))


Answer = tuple[int, Any]


class BulkServer:
    """Takes bulk requests, and answers each as it is told to: with a status, and one for each item.

    Attributes:
        requests: Method, path, headers and body of each request.
        written: The documents that were taken, by id.
        rule: What becomes of an item: given its head and document, a status and an error.
        status: What becomes of a whole bulk request, if not 200.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.written: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.rule: Callable[[dict[str, Any], dict[str, Any]], Answer] = lambda _head, _document: (201, None)
        self.status = 200
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                server.requests.append((self.command, self.path, dict(self.headers), body))
                status, answer = server.answer(self.command, self.path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign] - a client that does not trust us
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path != "/_bulk":
            return (200 if method == "PUT" else 404), {}
        if self.status != 200:
            return self.status, {"error": "as told"}
        items = []
        lines = body.splitlines()
        for head_line, line in zip(lines[::2], lines[1::2], strict=True):
            head, document = json.loads(head_line)["create"], json.loads(line)
            status, error = self.rule(head, document)
            if status < 300:
                if head["_id"] in self.written:
                    status, error = 409, {"type": "version_conflict_engine_exception", "reason": "exists"}
                else:
                    self.written[head["_id"]] = document
                    self.order.append(document["attributes"].get("number"))
            items.append({"create": {"status": status, **({"error": error} if error else {})}})
        return 200, {"errors": any(item["create"]["status"] >= 300 for item in items), "items": items}

    def bulks(self) -> list[tuple[str, str, dict[str, str], bytes]]:
        return [request for request in self.requests if request[1] == "/_bulk"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class EngineProxy(BulkServer):
    """Stands before a real engine: refuses what it is told to, and hands on the rest.

    Attributes:
        engine: The engine's URL.
    """

    engine = ""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path != "/_bulk" or self.status != 200:
            return super().answer(method, path, body) if path == "/_bulk" else self._forward(method, path, body)
        lines = body.splitlines()
        items: list[Any] = []
        passing: list[bytes] = []
        for head, document in zip(lines[::2], lines[1::2], strict=True):
            status, error = self.rule(json.loads(head)["create"], json.loads(document))
            items.append(None if status < 300 else {"create": {"status": status, "error": error}})
            if status < 300:
                passing += head, document
        if passing:
            status, answer = self._forward(method, path, b"\n".join(passing) + b"\n")
            if status >= 300:
                return status, answer
            taken = iter(answer["items"])
            items = [item or next(taken) for item in items]
        return 200, {"errors": True, "items": items}

    def _forward(self, method: str, path: str, body: bytes) -> Answer:
        kind = "application/x-ndjson" if path == "/_bulk" else "application/json"
        try:
            answer = httpx.request(
                method, self.engine + path, content=body, headers={"content-type": kind}, timeout=30, trust_env=False
            )
        except httpx.TransportError:
            return 503, {"error": "the engine does not answer"}
        return answer.status_code, answer.json()


@contextmanager
def bulk_server(port: int = 0, made: type[BulkServer] = BulkServer, **options: Any) -> Iterator[Any]:
    server = made(port, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[BulkServer]:
    with bulk_server() as made:
        yield made
