"""The ways out: TLS and a login for each backend, by environment variables alone."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.backends.collector import Collector
from tests.backends.fixtures import require
from tests.backends.server import BackendError
from tests.collector import otlp
from tests.service import eventually

pytestmark = pytest.mark.backends


class Asked(set[tuple[str, str]]):
    """What was asked for by whom: paths, each with its authorization."""


class _Handler(BaseHTTPRequestHandler):
    asked: Asked

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.asked.add((self.path, self.headers["authorization"] or ""))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def https(context: ssl.SSLContext, asked: Asked) -> Iterator[str]:
    """A server of OTLP over HTTPS; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"asked": asked}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def service(self, details: Any) -> Any:
        metadata = dict(details.invocation_metadata)

        def export(_: bytes, __: object) -> bytes:
            self._asked.add((details.method, metadata.get("authorization", "")))
            return ExportTraceServiceResponse().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(export)


@contextlib.contextmanager
def secure_grpc(certificate: trustme.LeafCert, asked: Asked) -> Iterator[str]:
    """A server of OTLP over gRPC with TLS; its address."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=(_Service(asked),))
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def test_each_backend_is_reached_by_tls_with_its_login(tmp_path: Path) -> None:
    require("otelcol-search")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    asked = Asked()
    layers = ("jaeger", "prometheus", "elasticsearch-otlp", "elasticsearch-otlp-traces")
    with https(context, asked) as url, secure_grpc(certificate, asked) as address:
        variables = {
            "JAEGER_OTLP_ENDPOINT": address,
            "JAEGER_INSECURE": "false",
            "JAEGER_AUTHORIZATION": "Bearer jaeger",
            "PROMETHEUS_URL": url,
            "PROMETHEUS_AUTHORIZATION": "Basic prometheus",
            "ELASTICSEARCH_URL": url,
            "ELASTICSEARCH_AUTHORIZATION": "ApiKey elasticsearch",
        }
        authorities = {
            f"{name}_CA_FILE": str(tmp_path / "authority.pem") for name in ("JAEGER", "PROMETHEUS", "ELASTICSEARCH")
        }
        exporters = tuple(f"exporters/{layer}" for layer in layers)
        with Collector(tmp_path / "trusting", exporters, {**variables, **authorities}) as collector:
            with httpx.Client() as client:
                for signal in otlp.SIGNALS:
                    otlp.send(client, collector.http_url, signal, otlp.numbered(signal, "secured", 1))
            expected = {
                ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "Bearer jaeger"),
                ("/api/v1/otlp/v1/metrics", "Basic prometheus"),
                ("/_otlp/v1/logs", "ApiKey elasticsearch"),
                ("/_otlp/v1/traces", "ApiKey elasticsearch"),
            }
            eventually(lambda: asked == expected and asked)
        asked.clear()
        # With the system's authorities alone it does not trust them, and sends nothing.
        with Collector(tmp_path / "doubting", exporters, variables) as collector:
            with httpx.Client() as client:
                for signal in otlp.SIGNALS:
                    otlp.send(client, collector.http_url, signal, otlp.numbered(signal, "doubted", 1))
            log = eventually(
                lambda: (text := collector.log.read_text()).count("certificate signed by unknown") >= 4 and text
            )
        assert not asked
        assert "Bearer jaeger" not in log


def test_a_damaged_queue_is_named_and_with_its_file_moved_away_the_collector_starts(tmp_path: Path) -> None:
    require("otelcol-search")
    collector = Collector(tmp_path, ("exporters/elasticsearch-otlp",), {"ELASTICSEARCH_URL": "http://127.0.0.1:9"})
    with collector, httpx.Client() as client:
        otlp.send(client, collector.http_url, "logs", otlp.numbered("logs", "queued", 1))
    file = tmp_path / "queue" / "exporter_otlp_http_elasticsearch_logs"
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(BackendError, match='failed to start "otlp_http/elasticsearch" exporter: invalid database'):
        collector.start(again=True)
    file.rename(tmp_path / "damaged")
    with collector, httpx.Client() as client:
        otlp.send(client, collector.http_url, "logs", otlp.numbered("logs", "queued", 2))
