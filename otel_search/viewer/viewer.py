"""Receivers, store and page, started and ended together."""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING, Self

from otel_search.viewer.loopback import HOST
from otel_search.viewer.page import PageServer
from otel_search.viewer.receiver import DEFAULT_PORT as DEFAULT_OTLP_PORT
from otel_search.viewer.receiver import BusyError, Receiver
from otel_search.viewer.store import DEFAULT_MAX_AGE, DEFAULT_MAX_SIZE, MAX_QUEUE, Store
from otel_search.viewer.store.file import temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from otel_search.viewer.grpc_receiver import GrpcReceiver
    from otel_search.viewer.otlp import ExportRequest

DEFAULT_PORT = 4319
DEFAULT_GRPC_PORT = 4317

_RETRY_AFTER = 1.0


class PortTakenError(OSError):
    """A port is taken, or not allowed; the message names it.

    Attributes:
        port: The port.
        option: The argument of `Viewer` that it was given by.
    """

    def __init__(self, port: int, option: str, number: int) -> None:
        reason = "is taken" if number == errno.EADDRINUSE else "is not for this user"
        super().__init__(number, f"port {port} of {HOST} {reason}")
        self.port = port
        self.option = option

    def __str__(self) -> str:
        return str(self.strerror)


class Viewer:
    """A local backend for OpenTelemetry: OTLP receivers, a bounded store, and its page.

    Args:
        port: Of the page; 0 takes a free one.
        otlp_port: Of the OTLP/HTTP receiver; 0 takes a free one.
        grpc_port: Of the OTLP/gRPC receiver; 0 takes a free one, `None` leaves it out. It needs `grpcio`.
        database: The file to keep telemetry in; a temporary one, deleted at the end, by default.
        max_size: Bytes of telemetry to keep in it.
        max_age: Seconds to keep telemetry.
        max_queue: Bytes of export requests that may wait to be written; beyond, senders are told to come again.
        on_export: Called with each export request as it comes in, in the receiver's thread.

    Attributes:
        store: What has been received.

    Raises:
        PortTakenError: If a port is taken.
        StoreError: If the file cannot be used.
    """

    def __init__(
        self,
        *,
        port: int = DEFAULT_PORT,
        otlp_port: int = DEFAULT_OTLP_PORT,
        grpc_port: int | None = None,
        database: Path | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        max_age: float = DEFAULT_MAX_AGE,
        max_queue: int = MAX_QUEUE,
        on_export: Callable[[ExportRequest], None] | None = None,
    ) -> None:
        self._on_export = on_export
        with contextlib.ExitStack() as opened:
            if database is None:
                database = temporary()
                opened.callback(shutil.rmtree, database.parent, ignore_errors=True)
            self.store = Store(database, max_size=max_size, max_age=max_age, max_queue=max_queue)
            opened.callback(self.store.close)
            with _named(port, "port"):
                self._page = PageServer(self.store, port=port)
            opened.callback(self._page.stop)
            with _named(otlp_port, "otlp_port"):
                self._receiver = Receiver(self._receive, port=otlp_port)
            opened.callback(self._receiver.stop)
            self._grpc: GrpcReceiver | None = None
            if grpc_port is not None:
                from otel_search.viewer.grpc_receiver import GrpcReceiver

                with _named(grpc_port, "grpc_port"):
                    self._grpc = GrpcReceiver(self._receive, port=grpc_port)
                opened.callback(self._grpc.stop)
            self._opened = opened.pop_all()

    @property
    def url(self) -> str:
        """Of the page."""
        return self._page.url

    @property
    def endpoint(self) -> str:
        """The value for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return self._receiver.endpoint

    @property
    def grpc_endpoint(self) -> str | None:
        """The same for `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`; `None` without that receiver."""
        return None if self._grpc is None else self._grpc.endpoint

    def start(self) -> Self:
        """Start to receive and to serve; returns when requests are answered."""
        self._page.start()
        self._receiver.start()
        if self._grpc is not None:
            self._grpc.start()
        return self

    def stop(self) -> None:
        """End the receivers, write what they have taken, end the page, and delete a temporary file."""
        self._opened.close()

    def _receive(self, request: ExportRequest) -> None:
        if not self.store.add(request):
            raise BusyError(_RETRY_AFTER)
        if self._on_export is not None:
            self._on_export(request)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def _named(port: int, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTakenError(port, option, error.errno) from error
        raise
