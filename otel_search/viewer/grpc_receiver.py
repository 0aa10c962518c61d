"""An OTLP/gRPC receiver, for programs whose exporters speak nothing else. Needs `grpcio`."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from otel_search.viewer import otlp
from otel_search.viewer.loopback import HOST, listen
from otel_search.viewer.receiver import MAX_BODY, BusyError

if TYPE_CHECKING:
    from otel_search.viewer.receiver import OnExport

_THREADS = 4
_REGISTER = (
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server,
)


class _Service:
    """One of the three services, which all have the one method `Export`."""

    def __init__(self, endpoint: otlp.Endpoint, on_export: OnExport) -> None:
        self._endpoint = endpoint
        self._on_export = on_export

    def Export(self, request: otlp.ExportRequest, context: Any) -> Any:  # noqa: N802  the protocol's name
        """Take an export request."""
        try:
            otlp.check(request)
            response = otlp.accept(self._endpoint, request)
            self._on_export(request)
        except otlp.MalformedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except BusyError as busy:
            # OTLP's exporters try again after this status, and not after RESOURCE_EXHAUSTED.
            context.abort(grpc.StatusCode.UNAVAILABLE, str(busy))
        return response


class GrpcReceiver:
    """Serves an OTLP/gRPC receiver on loopback, in threads of this process.

    Args:
        on_export: Called with each export request, in one of the receiver's threads.
        port: The port to listen on; 0 takes a free one.

    Raises:
        OSError: If the port cannot be listened on.
    """

    def __init__(self, on_export: OnExport, *, port: int = 0) -> None:
        if port:
            listen(port, "receive OTLP over gRPC").close()  # gRPC itself would write to stderr of a taken one
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc-receiver"),
            options=[
                ("grpc.so_reuseport", 0),  # else a second process would share the port
                ("grpc.max_receive_message_length", MAX_BODY),
            ],
            maximum_concurrent_rpcs=64,
        )
        register: Any
        for endpoint, register in zip(otlp.ENDPOINTS, _REGISTER, strict=True):
            register(_Service(endpoint, on_export), self._server)
        try:
            self.port: int = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot receive OTLP/gRPC on {HOST}:{port}: {error}") from error

    @property
    def endpoint(self) -> str:
        """The value for `OTEL_EXPORTER_OTLP_ENDPOINT`, with the protocol `grpc`."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> Self:
        """Start to serve."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Answer what is being received, and close the port."""
        self._server.stop(grace=1.0).wait()
