"""Elasticsearch's own OTLP endpoint as far as log records go: counted, and away when a test wants it to be."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


class LogStore:
    """On loopback, the same port whether it is there or gone.

    Attributes:
        status: What every request is answered with; only 200 keeps the records.
        records: All records that were kept, with the name of their service, in the order of arrival.
    """

    def __init__(self) -> None:
        self.status = 200
        self.records: list[tuple[str, LogRecord]] = []
        self.authorization: set[str] = set()
        self._silent = threading.Event()
        self._silent.set()
        self._port = 0
        self._server: http.server.ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def bodies(self, service: str) -> Counter[str]:
        """How often each body of a service's records is there."""
        return Counter(record.body.string_value for name, record in list(self.records) if name == service)

    def start(self) -> None:
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                store._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def fall_silent(self) -> None:
        """Take requests and answer none, until `speak`."""
        self._silent.clear()

    def speak(self) -> None:
        self._silent.set()

    def _answer(self, handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if not self._silent.is_set():
            self._silent.wait()
            handler.close_connection = True
            return
        # A connection that outlived `stop` must not be a way in.
        status = self.status if self._server is not None else 503
        if status == 200 and handler.path == "/_otlp/v1/logs":
            self.authorization.add(handler.headers["Authorization"] or "")
            if handler.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_logs:
                    self.records += [(names.get("service.name", ""), record) for record in scope.log_records]
        handler.send_response(status if handler.path == "/_otlp/v1/logs" else 404)
        handler.send_header("Content-Type", "application/x-protobuf")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.speak()
        self.stop()
