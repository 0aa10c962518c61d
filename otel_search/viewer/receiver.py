"""An OTLP/HTTP receiver: a Starlette application, and the server that runs it in a thread.

It is for a developer's machine and for tests: it listens on loopback alone, takes what any
OpenTelemetry exporter sends, and hands each decoded export request to a callback. It is never
instrumented itself: Starlette and not FastAPI, whose own telemetry would report on its reports.
"""

from __future__ import annotations

import asyncio
import functools
import math
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from otel_search.viewer import otlp
from otel_search.viewer.guard import LoopbackOnly
from otel_search.viewer.loopback import LoopbackServer

if TYPE_CHECKING:
    from google.protobuf.message import Message  # type: ignore[import-untyped]

DEFAULT_PORT = 4318
"""OTLP/HTTP's registered port, where exporters send when nobody tells them otherwise."""

MAX_BODY = 20 * 1024 * 1024
"""Bytes of one export request, compressed or not; the Collector's default too."""

BODY_TIMEOUT = 30.0
"""Seconds in which a request's body has to arrive."""

# zlib's window bits: 16 more than its maximum selects the gzip container.
_ENCODINGS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

OnExport = Callable[[otlp.ExportRequest], None]


class BusyError(Exception):
    """Raised by a callback that cannot take an export request now.

    Args:
        retry_after: In how many seconds the sender may try again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too much telemetry is waiting to be stored; try again in {retry_after:g} s")
        self.retry_after = retry_after


class _RefusedError(Exception):
    """The answer is a status and a reason; `unread` when some of the body may still be on its way."""

    def __init__(self, status_code: int, reason: str, *, unread: bool = False) -> None:
        super().__init__(reason)
        self.status_code = status_code
        self.reason = reason
        self.unread = unread


def receiver_app(on_export: OnExport, *, max_body: int = MAX_BODY) -> Starlette:
    """Make an ASGI application that receives OTLP over HTTP.

    Args:
        on_export: Called on the event loop with each export request, in the order of arrival. If it raises
            `BusyError`, the sender is answered 429 with Retry-After, as OTLP says, and sends it again.
        max_body: Upper limit of a request's body in bytes, before and after decompression.

    Returns:
        An application that answers POST on `/v1/traces`, `/v1/metrics` and `/v1/logs`.
    """
    return Starlette(
        routes=[
            Route(
                endpoint.path,
                functools.partial(_export, endpoint=endpoint, on_export=on_export, max_body=max_body),
                methods=["POST"],
            )
            for endpoint in otlp.ENDPOINTS
        ],
        middleware=[Middleware(LoopbackOnly)],
    )


async def _export(request: Request, *, endpoint: otlp.Endpoint, on_export: OnExport, max_body: int) -> Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await _read(request, content_type, max_body)
        message = otlp.decode(endpoint, content_type, body)
    except _RefusedError as refused:
        return _answer(otlp.status(refused.reason), content_type, refused.status_code, close=refused.unread)
    except otlp.MalformedError as error:
        return _answer(otlp.status(str(error)), content_type, 400)
    except TimeoutError:
        return _answer(otlp.status(f"the body did not arrive in {BODY_TIMEOUT} s"), content_type, 408, close=True)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it
    response = otlp.accept(endpoint, message)
    try:
        on_export(message)
    except BusyError as busy:
        return _answer(otlp.status(str(busy)), content_type, 429, retry_after=busy.retry_after)
    return _answer(response, content_type, 200)


def _answer(
    message: Message, content_type: str, status_code: int, *, close: bool = False, retry_after: float | None = None
) -> Response:
    # An answer has the content type of its request; what asked in a type of its own gets JSON.
    media_type = content_type if content_type in otlp.CONTENT_TYPES else otlp.JSON
    headers = {"connection": "close"} if close else {}
    if retry_after is not None:
        headers["retry-after"] = str(math.ceil(retry_after))
    return Response(otlp.encode(message, media_type), status_code, headers=headers, media_type=media_type)


async def _read(request: Request, content_type: str, limit: int) -> bytes:
    """The body without its content encoding, never holding more than `limit` bytes of either."""
    if content_type not in otlp.CONTENT_TYPES:
        raise _RefusedError(
            415, f"content type {content_type[:64]!r}; accepted: {', '.join(otlp.CONTENT_TYPES)}", unread=True
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding != "identity" and encoding not in _ENCODINGS:
        raise _RefusedError(
            415, f"content encoding {encoding[:64]!r}; accepted: identity, {', '.join(_ENCODINGS)}", unread=True
        )
    too_large = _RefusedError(413, f"the body has more than {limit} bytes", unread=True)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    inflate = _Inflater(_ENCODINGS[encoding]) if encoding in _ENCODINGS else None
    body = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        body += chunk if inflate is None else inflate.feed(chunk, limit + 1 - len(body))
        if len(body) > limit:
            raise too_large
    if inflate is not None:
        inflate.finish()
    return bytes(body)


class _Inflater:
    """Decompresses a stream of gzip members or one zlib stream, never more than it is asked for."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(window_bits)

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        try:
            while data and len(out) < room:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(self._window_bits)
                out += self._stream.decompress(data, room - len(out))
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise _RefusedError(400, f"the body cannot be decompressed: {error}", unread=True) from error
        return bytes(out)

    def finish(self) -> None:
        if not self._stream.eof:
            raise _RefusedError(400, "the compressed body ends too early")


class Receiver(LoopbackServer):
    """Serves a receiver on loopback in a thread of this process, as a context manager.

    Args:
        on_export: Called with each export request, in the receiver's thread.
        port: The port to listen on; 0 takes a free one.
        max_body: Upper limit of a request's body in bytes, before and after decompression.

    Raises:
        OSError: If the port cannot be listened on; its text names the address.
    """

    def __init__(self, on_export: OnExport, *, port: int = 0, max_body: int = MAX_BODY) -> None:
        # The limit of connections times MAX_BODY is what hostile senders can make us hold.
        super().__init__(
            receiver_app(on_export, max_body=max_body), port=port, purpose="receive OTLP", limit_concurrency=64
        )

    @property
    def endpoint(self) -> str:
        """The value for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return self.url
