"""Stands in place of the exporters' endpoints: notes what arrives, and passes it on.

It answers with success whatever happens behind it: what the endpoint says is noted, and the application
is not held up by an exporter's retries.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from otel_search.doctor.exporters import SIGNALS, Target, call
from otel_search.doctor.observed import Delivered
from otel_search.doctor.reach import ask
from otel_search.viewer import otlp
from otel_search.viewer.recording import Recording

_HOST = "127.0.0.1"
_ENDPOINTS = dict(zip(SIGNALS, otlp.ENDPOINTS, strict=True))
_PASSED_ON = ("content-type", "content-encoding", "authorization")


class Relay:
    """A relay for some targets, as a context manager.

    Args:
        targets: Where the signals would go.

    Attributes:
        recording: What arrived.
        deliveries: What became of it.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.recording = Recording()
        self.deliveries: list[Delivered] = []
        self._targets = {target.signal: target for target in targets}
        self._ends = contextlib.ExitStack()
        self._http_port = self._grpc_port = 0

    @property
    def addresses(self) -> set[str]:
        """Where it listens, as `host:port`."""
        return {f"{_HOST}:{port}" for port in (self._http_port, self._grpc_port) if port}

    def variables(self) -> dict[str, str]:
        """The variables that send the signals here."""
        found: dict[str, str] = {}
        for signal, target in self._targets.items():
            prefix = f"OTEL_EXPORTER_OTLP_{signal.upper()}"
            if target.protocol == "grpc":
                found |= {f"{prefix}_ENDPOINT": f"http://{_HOST}:{self._grpc_port}", f"{prefix}_INSECURE": "true"}
            else:
                found[f"{prefix}_ENDPOINT"] = f"http://{_HOST}:{self._http_port}/v1/{signal}"
        return found

    def __enter__(self) -> Self:
        protocols = {target.protocol for target in self._targets.values()}
        if "http/protobuf" in protocols:
            self._serve_http()
        if "grpc" in protocols:
            self._serve_grpc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.close()

    def _serve_http(self) -> None:
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                signal = self.path.rpartition("/")[2]
                headers = {name: value for name, value in self.headers.items() if _is_passed_on(name)}
                if signal in relay._targets:
                    relay._take(signal, body, headers)
                self.send_response(200)
                self.send_header("content-type", otlp.PROTOBUF)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer((_HOST, 0), Handler)
        server.daemon_threads = True
        self._http_port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="doctor-relay", daemon=True)
        thread.start()
        self._ends.callback(server.server_close)
        self._ends.callback(server.shutdown)

    def _serve_grpc(self) -> None:
        import grpc

        def handler(signal: str) -> Any:
            def export(body: bytes, context: Any) -> bytes:
                self._take(signal, body, dict(context.invocation_metadata()))
                return b""

            return grpc.unary_unary_rpc_method_handler(export)

        server = grpc.server(ThreadPoolExecutor(max_workers=4))
        for signal, target in self._targets.items():
            service = target.grpc_method.split("/")[1]
            handlers = {"Export": handler(signal)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._grpc_port = server.add_insecure_port(f"{_HOST}:0")
        server.start()
        self._ends.callback(lambda: server.stop(0).wait(5))

    def _take(self, signal: str, body: bytes, headers: Mapping[str, str]) -> None:
        target = self._targets[signal]
        encoding = next((value for name, value in headers.items() if name.lower() == "content-encoding"), "")
        with contextlib.suppress(otlp.MalformedError, OSError, zlib.error, EOFError):
            plain = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body) if encoding else body
            self.recording.add(otlp.decode(_ENDPOINTS[signal], otlp.PROTOBUF, plain))
        self.deliveries.append(Delivered(signal, target.url, self._passed_on(target, body, headers)))

    def _passed_on(self, target: Target, body: bytes, headers: Mapping[str, str]) -> str:
        """What went wrong behind us, or nothing."""
        if target.protocol == "grpc":
            code, detail = call(target, secure=target.secure, body=body)
            return "" if code == "OK" else f"{code}: {detail}"
        answer = ask(target.url, method="POST", headers={**headers, **target.headers}, body=body, tls=target.tls)
        if answer.failed:
            return answer.detail
        return "" if 200 <= answer.status < 300 else f"status {answer.status}"


def _is_passed_on(name: str) -> bool:
    return name.lower() in _PASSED_ON
