"""What every request gets, whoever answers it: an id, two timing headers, its access line.

Pure ASGI layers. `RequestLayer` stands outside of everything, so that the framework's own error
responses are seen too. `TraceLayer` stands inside of the server span, to know it. `BoundLayer`
stands inside of function-style middleware, which runs the application in another context. None
touches what passes: messages are observed, bodies are never buffered, exceptions go on.
"""

from __future__ import annotations

from otel_search.middleware.access import AccessLog
from otel_search.middleware.excluded import Excluded, inner_path
from otel_search.middleware.metrics import ServerMetrics, StreamAwareHistogram
from otel_search.middleware.request import Options, RequestLayer
from otel_search.middleware.state import CURRENT, MOUNT_PREFIX, STATE, App, Message, Receive, RequestState, Scope, Send
from otel_search.middleware.trace import BoundLayer, EdgeLayer, TraceLayer, request_attributes

__all__ = [
    "CURRENT",
    "MOUNT_PREFIX",
    "STATE",
    "AccessLog",
    "App",
    "BoundLayer",
    "EdgeLayer",
    "Excluded",
    "Message",
    "Options",
    "Receive",
    "RequestLayer",
    "RequestState",
    "Scope",
    "Send",
    "ServerMetrics",
    "StreamAwareHistogram",
    "TraceLayer",
    "inner_path",
    "request_attributes",
]
