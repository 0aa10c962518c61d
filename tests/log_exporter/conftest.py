"""Exporters, their records, and servers to write them to."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

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

    def __init__(self, port: int = 0) -> None:
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
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

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


@contextmanager
def bulk_server(port: int = 0) -> Iterator[BulkServer]:
    server = BulkServer(port)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[BulkServer]:
    with bulk_server() as made:
        yield made


@pytest.fixture
def engine() -> str:
    """The URL of a real search engine."""
    url = os.environ.get("OTEL_SEARCH_TEST_ENGINE", "")
    if not url:
        pytest.skip("OTEL_SEARCH_TEST_ENGINE names no search engine")
    return url
