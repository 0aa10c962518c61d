"""A web server on loopback, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import uvicorn

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import ASGIApp

HOST = "127.0.0.1"


def listen(port: int, purpose: str) -> socket.socket:
    """Open a listening socket on loopback.

    Args:
        port: 0 takes a free one.
        purpose: What for, in the words of an error: `receive OTLP`.

    Raises:
        OSError: If it cannot be listened on; its text names the address.
    """
    # With its protocol named: asyncio sends at once (TCP_NODELAY) on no other connections, and the
    # second part of an answer would wait 40 ms for the other side.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot {purpose} on {HOST}:{port}: {error.strerror}") from error
    return listener


class LoopbackServer:
    """Serves an ASGI application on loopback in a thread of its own, as a context manager.

    Args:
        app: The application; it gets no lifespan events.
        port: The port to listen on; 0 takes a free one.
        purpose: What for, in the words of an error, and the thread's name.
        limit_concurrency: How many connections are served at once; others are answered 503.

    Raises:
        OSError: If the port cannot be listened on; its text names the address.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0, purpose: str, limit_concurrency: int = 64) -> None:
        self._socket = listen(port, purpose)
        self._purpose = purpose
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,  # the process's logging is not ours to configure
                log_level="warning",
                access_log=False,
                limit_concurrency=limit_concurrency,
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=purpose.replace(" ", "-"), daemon=True)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end: answers that go on and on have to end, too."""
        return self._server.should_exit

    def start(self) -> Self:
        """Start to serve; returns when requests are answered."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"cannot {self._purpose} on {self.url}: the server did not start")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Answer what is being received, close the port and end the thread."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
