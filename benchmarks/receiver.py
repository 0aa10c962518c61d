"""Where the measured processes send their telemetry: an OTLP/HTTP receiver that is an APM server, too.

It takes bodies as they are; what is in them is counted when nobody is being measured.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import threading
import time
import zlib
from collections import Counter

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# https://www.elastic.co/docs/solutions/observability/apm/apm-server/api
APM_INTAKE = "/intake/v2/events"
APM_CONFIGURATION = "/config/v1/agents"
APM_SERVER = {"version": "8.19.0", "build_date": "2026-01-01T00:00:00Z", "build_sha": "0", "publish_ready": True}


class Receiver:
    """Takes what is sent to it on a free port of 127.0.0.1.

    Args:
        status: What it answers to telemetry.
        seconds: How long it lets the sender wait for the answer.
    """

    def __init__(self, *, status: int = 200, seconds: float = 0.0) -> None:
        self.bodies: list[tuple[str, str, bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self._body()
                path = self.path.partition("?")[0]
                if path == APM_CONFIGURATION:
                    self._answer(200, b"{}", {"Etag": '"1"', "Cache-Control": "max-age=300"})
                    return
                if seconds:
                    time.sleep(seconds)
                receiver.bodies.append((path, self.headers.get("Content-Encoding", ""), body))
                self._answer(202 if path == APM_INTAKE and status == 200 else status)

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/":
                    self._answer(200, json.dumps(APM_SERVER).encode(), {"Content-Type": "application/json"})
                elif path == APM_CONFIGURATION:
                    self._answer(200, b"{}", {"Etag": '"1"', "Cache-Control": "max-age=300"})
                else:
                    self._answer(404)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # a sender that waits no longer for one that is slow
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self) -> Counter[str]:
        """What came since the last call: spans, points, records, and bytes as they were sent."""
        counts: Counter[str] = Counter()
        bodies, self.bodies = self.bodies, []
        for path, encoding, body in bodies:
            counts["bytes"] += len(body)
            counts.update(_counted(path, _decoded(encoding, body)))
        return counts

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


def _decoded(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def _counted(path: str, body: bytes) -> Counter[str]:
    if path == "/v1/traces":
        traces = ExportTraceServiceRequest.FromString(body)
        return Counter(spans=sum(len(scope.spans) for r in traces.resource_spans for scope in r.scope_spans))
    if path == "/v1/logs":
        logs = ExportLogsServiceRequest.FromString(body)
        return Counter(records=sum(len(scope.log_records) for r in logs.resource_logs for scope in r.scope_logs))
    if path == "/v1/metrics":
        request = ExportMetricsServiceRequest.FromString(body)
        metrics = (m for r in request.resource_metrics for scope in r.scope_metrics for m in scope.metrics)
        return Counter(points=sum(len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics))
    if path == APM_INTAKE:
        return _events(body)
    raise SystemExit(f"the receiver does not know {path}")


def _events(body: bytes) -> Counter[str]:
    # One JSON object a line, whose only key says what it is.
    counts: Counter[str] = Counter()
    for line in body.splitlines():
        for kind, content in json.loads(line).items():
            if kind in {"transaction", "span"}:
                counts["spans"] += 1
            elif kind == "metricset":
                counts["points"] += len(content["samples"])
            elif kind in {"log", "error"}:
                counts["records"] += 1
    return counts
