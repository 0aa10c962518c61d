"""Who listens on a port: the workers of one server do together (`SO_REUSEPORT`), and nobody else beside them.

The kernel would share it with any process of the same user that asks for it, too: a second service with the
same port would be told of the first one's health, now and then, and its scrapes be the other's. So a worker
asks for a shared port only where the other workers of its server have it, or nobody has. Which of both is
said by a file in the directory of the workers, which those who listen hold by a lock of the kernel.
"""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Callable
from typing import IO, TypeVar

from otel_search.metrics import shared_directory

T = TypeVar("T")


def listened_on(port: int, name: str, listen: Callable[[bool], T], close: Callable[[T], None]) -> tuple[T, object]:
    """Listen on a port, beside no other than the workers of this server; waits for them, so not on an event loop.

    Args:
        port: The port; 0 is any, which nobody shares.
        name: What it is for: two ports of one number and of different names are not shared.
        listen: Listens, on a port that is shared if it is told so.
        close: Stops listening.

    Returns:
        What listens, and what has to be kept for as long as it does.

    Raises:
        OSError: It cannot be listened on, or somebody else does.
    """
    try:
        directory = shared_directory()
    except OSError:  # it is said by the metrics that the workers do not meet
        return listen(True), None
    if directory is None or not port or not hasattr(socket, "SO_REUSEPORT"):
        return listen(False), None
    with (directory / "port.turn").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # one after another, until the file is closed
        held = (directory / f"port.{name}.{port}").open("ab")
        try:
            if _is_first(held):
                close(listen(False))
            listener = listen(True)
            fcntl.flock(held, fcntl.LOCK_SH)
        except BaseException:
            held.close()
            raise
        return listener, held


def _is_first(held: IO[bytes]) -> bool:
    """Whether no other worker has the port."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
