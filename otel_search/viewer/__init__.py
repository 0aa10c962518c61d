"""The viewer: a developer's look at telemetry, on one machine and without another service.

It receives OTLP over HTTP and gRPC, keeps it in a bounded SQLite file, and shows it on a web page.
Everything listens on 127.0.0.1 alone. In a process of its own:

    otel-search viewer --port 4319 --otlp-port 4318 --grpc-port 4317 --db telemetry.db

In this process, in threads, as a context manager:

    from otel_search.viewer import Viewer

    with Viewer(port=0, otlp_port=0, grpc_port=None) as viewer:
        print(viewer.url)       # the page
        print(viewer.endpoint)  # the value for OTEL_EXPORTER_OTLP_ENDPOINT

The parts stand on their own: `receiver` is the OTLP/HTTP receiver, `recording` keeps what it
receives in memory for tests, `store` keeps it in a file, `page` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_search.viewer.viewer import PortTakenError as PortTakenError
    from otel_search.viewer.viewer import Viewer as Viewer

__all__ = ["PortTakenError", "Viewer"]


def __getattr__(name: str) -> Any:
    # Lazily: the receiver alone works without what the page needs.
    if name in __all__:
        from otel_search.viewer import viewer

        return getattr(viewer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
